// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/completion_parser.h"

#include <algorithm>

#include "tessera/text/chat_texts.h"

namespace tessera::text {
namespace {

constexpr std::string_view kWhiteSpace = " \t\r\n";

/// Length of the longest proper prefix of `tag` that `text` ends with.
size_t overlap(std::string_view text, std::string_view tag) {
  for (size_t length = std::min(text.size(), tag.size() - 1); length > 0; --length)
    if (text.ends_with(tag.substr(0, length))) return length;
  return 0;
}

/// Where up to two line breaks at the end of `text` begin.
size_t before_line_breaks(std::string_view text) {
  size_t end = text.size();
  while (end > 0 && text.size() - end < 2 && text[end - 1] == '\n') --end;
  return end;
}

}  // namespace

constexpr CompletionParser::TagText CompletionParser::kTags[] = {
    {kThinkOpen, Tag::think_open},
    {kThinkClose, Tag::think_close},
    {kToolCallsOpen, Tag::block_open},
    {"<｜DSML｜toolcalls>", Tag::block_open},
    {"<｜DSML｜function_calls>", Tag::block_open},
    {kToolCallsClose, Tag::block_close},
    {"</｜DSML｜toolcalls>", Tag::block_close},
    {"</｜DSML｜function_calls>", Tag::block_close},
    {kInvokeOpen, Tag::invoke},
    {kInvokeClose, Tag::stray},
    {kParameterClose, Tag::stray},
};

Completion CompletionParser::push(std::string_view text) {
  Completion out;
  if (ended_) return out;
  input_ += text;
  const size_t end = input_.find(kEndOfSentence);
  if (end != std::string::npos) {
    pending_.append(input_, 0, end);
    input_.clear();
    parse(true, out);
    ended_ = true;
    return out;
  }
  const size_t certain = input_.size() - overlap(input_, kEndOfSentence);
  pending_.append(input_, 0, certain);
  input_.erase(0, certain);
  parse(false, out);
  return out;
}

Completion CompletionParser::finish() {
  Completion out;
  if (ended_) return out;
  pending_ += input_;
  input_.clear();
  parse(true, out);
  ended_ = true;
  return out;
}

void CompletionParser::parse(bool is_final, Completion& out) {
  while (invoke_ ? parse_invoke(is_final, out) : parse_text(is_final, out)) {}
  // A block that never got its first call is text; white space behind calls is nothing.
  if (is_final && held_has_tag_) emit_outside_block({}, out);
}

/// Takes text up to a tag and the tag, or all that is certain. False: nothing more to do.
bool CompletionParser::parse_text(bool is_final, Completion& out) {
  size_t at = 0;
  for (; (at = pending_.find('<', at)) != std::string::npos; ++at) {
    const std::string_view rest = std::string_view(pending_).substr(at);
    bool may_become_tag = false;
    for (const auto& [tag_text, tag] : kTags) {
      if (tag == Tag::think_open && !(at == 0 && at_start_)) continue;
      if (rest.starts_with(tag_text)) {
        handle_tag(tag, at, at + tag_text.size(), out);
        return true;
      }
      may_become_tag = may_become_tag || tag_text.starts_with(rest);
    }
    if (may_become_tag && !is_final) break;
  }
  size_t certain = std::min(at, pending_.size());
  if (!is_final) certain = before_line_breaks(std::string_view(pending_).substr(0, certain));
  if (certain == 0) return false;
  emit(std::string_view(pending_).substr(0, certain), out);
  pending_.erase(0, certain);
  at_start_ = false;
  return false;
}

void CompletionParser::handle_tag(Tag tag, size_t begin, size_t end, Completion& out) {
  const std::string_view pending = pending_;
  std::string_view before = pending.substr(0, begin);
  if (tag == Tag::block_open || tag == Tag::invoke) {
    before = before.substr(0, before_line_breaks(before));
    emit(before, out);
    held_ += pending.substr(before.size(), end - before.size());
    held_has_tag_ = true;
    in_block_ = true;
    if (tag == Tag::block_open) gave_back_ = false;
    if (tag == Tag::invoke) invoke_.emplace();
  } else {
    emit(before, out);
    if (tag == Tag::think_open) reasoning_ = true;
    if (tag == Tag::think_close) {
      if (held_has_tag_) emit_outside_block({}, out);
      reasoning_ = in_block_ = false;
      held_.clear();
    }
    if (tag == Tag::block_close && gave_back_) {
      emit_outside_block(pending.substr(begin, end - begin), out);
      gave_back_ = false;
    } else if (tag == Tag::block_close) {
      held_.clear();  // an empty block
      held_has_tag_ = false;
    }
  }
  pending_.erase(0, end);
  at_start_ = false;
}

/// Goes on within a call. False: its end has not arrived.
bool CompletionParser::parse_invoke(bool is_final, Completion& out) {
  const InvokeScanner::Status status = invoke_->scan(pending_);
  if (status == InvokeScanner::Status::incomplete && !is_final) return false;
  const size_t consumed =
      status == InvokeScanner::Status::incomplete ? pending_.size() : invoke_->consumed();
  ToolCall call = invoke_->take_call();
  if (status == InvokeScanner::Status::complete && options_.knows(call.name)) {
    out.tool_calls.push_back(std::move(call));
    held_.clear();
    held_has_tag_ = false;
  } else {
    emit_outside_block(std::string_view(pending_).substr(0, consumed), out);
    gave_back_ = true;
  }
  invoke_.reset();
  pending_.erase(0, consumed);
  return true;
}

/// Text that lies between tags.
void CompletionParser::emit(std::string_view text, Completion& out) {
  if (in_block_ && text.find_first_not_of(kWhiteSpace) == std::string_view::npos) {
    held_ += text;
    return;
  }
  if (in_block_ && held_has_tag_) gave_back_ = true;
  emit_outside_block(text, out);
}

/// Text that ends a block, behind what was held back for it.
void CompletionParser::emit_outside_block(std::string_view text, Completion& out) {
  std::string& target = reasoning_ ? out.reasoning_content : out.content;
  target += held_;
  target += text;
  held_.clear();
  held_has_tag_ = in_block_ = false;
}

Completion parse_completion(std::string_view text, const CompletionOptions& options) {
  CompletionParser parser(options);
  Completion completion = parser.push(text);
  Completion rest = parser.finish();
  completion.reasoning_content += rest.reasoning_content;
  completion.content += rest.content;
  std::ranges::move(rest.tool_calls, std::back_inserter(completion.tool_calls));
  return completion;
}

}  // namespace tessera::text
