// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/conversation.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "tessera/text/chat_texts.h"
#include "tessera/text/completion_parser.h"

namespace tessera::engine {
namespace {

void append(const text::Completion& part, text::Completion& all) {
  all.reasoning_content += part.reasoning_content;
  all.content += part.content;
  std::ranges::copy(part.tool_calls, std::back_inserter(all.tool_calls));
}

}  // namespace

void Conversation::clear() {
  messages_.clear();
  known_text_.clear();
  known_ids_.clear();
}

Result<std::vector<TokenId>> Conversation::encode(const text::RenderedPrompt& prompt) const {
  const size_t known = prompt.text.starts_with(known_text_) ? known_text_.size() : 0;
  std::vector<text::TextRange> literal;
  for (const text::TextRange& range : prompt.literal)
    if (range.end > known)
      literal.push_back({std::max(range.begin, known) - known, range.end - known});
  TESSERA_ASSIGN(
      const std::vector<TokenId> rest,
      tokenizer_.encode(std::string_view(prompt.text).substr(known), {.literal = literal}));
  std::vector<TokenId> ids;
  if (known > 0) ids = known_ids_;
  ids.insert(ids.end(), rest.begin(), rest.end());
  return ids;
}

Result<Reply> Conversation::ask(std::string text, const ReplyHooks& hooks) {
  messages_.push_back({.role = text::Role::user, .content = std::move(text)});
  Reply reply;
  const auto run = [&]() -> Result<> {
    TESSERA_ASSIGN(const text::RenderedPrompt prompt, text::render_prompt(messages_, chat));
    TESSERA_ASSIGN(request.prompt, encode(prompt));
    const auto end = tokenizer_.control_token(text::kEndOfSentence);
    if (end && std::ranges::find(request.end_tokens, *end) == request.end_tokens.end())
      request.end_tokens.push_back(*end);

    text::CompletionParser parser({.starts_in_reasoning = prompt.starts_in_reasoning});
    const auto take = [&](const text::Completion& part) {
      if (part.empty()) return;
      append(part, reply.completion);
      if (hooks.on_part) hooks.on_part(part);
    };
    TESSERA_ASSIGN(
        auto answers,
        generator_.generate(
            {&request, 1},
            {.on_token = [&](size_t, TokenId, std::string_view part) { take(parser.push(part)); },
             .on_prompt = hooks.on_prompt,
             .cancelled = hooks.cancelled}));
    take(parser.finish());
    reply.answer = std::move(answers[0]);
    known_text_ = prompt.text + reply.answer.text;
    known_ids_ = request.prompt;
    known_ids_.insert(known_ids_.end(), reply.answer.ids.begin(), reply.answer.ids.end());
    if (reply.answer.finish == FinishReason::end_token) {
      known_text_ += text::kEndOfSentence;
    } else if (reply.answer.finish == FinishReason::stop_text) {
      known_text_.clear();  // there are tokens that the text lacks
    }
    return {};
  };
  if (auto result = run(); !result.ok()) {
    messages_.pop_back();
    return std::move(result).error();
  }
  messages_.push_back({.role = text::Role::assistant,
                       .content = reply.completion.content,
                       .reasoning_content = reply.completion.reasoning_content,
                       .tool_calls = reply.completion.tool_calls});
  return reply;
}

}  // namespace tessera::engine
