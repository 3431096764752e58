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
  known_places_.clear();
}

Result<std::vector<TokenId>> Conversation::encode(const text::RenderedPrompt& prompt) const {
  Place shared{0, 0};
  for (const Place& place : known_places_)
    if (prompt.text.starts_with(std::string_view(known_text_).substr(0, place.text)))
      shared = place;
  const size_t known = shared.text;
  std::vector<text::TextRange> literal;
  for (const text::TextRange& range : prompt.literal)
    if (range.end > known)
      literal.push_back({std::max(range.begin, known) - known, range.end - known});
  TESSERA_ASSIGN(
      const std::vector<TokenId> rest,
      tokenizer_.encode(std::string_view(prompt.text).substr(known), {.literal = literal}));
  std::vector<TokenId> ids(known_ids_.begin(),
                           known_ids_.begin() + static_cast<ptrdiff_t>(shared.ids));
  ids.insert(ids.end(), rest.begin(), rest.end());
  return ids;
}

void Conversation::remember(const text::RenderedPrompt& prompt, const Answer& answer) {
  known_text_ = prompt.text;
  known_ids_ = request.prompt;
  known_places_.clear();
  // Without the last token: it opens the reasoning, which later prompts do without.
  for (const std::string_view last : {text::kThinkOpen, text::kThinkClose})
    if (known_text_.ends_with(last) && known_ids_.back() == tokenizer_.control_token(last))
      known_places_.push_back({known_text_.size() - last.size(), known_ids_.size() - 1});
  known_places_.push_back({known_text_.size(), known_ids_.size()});
  if (answer.finish == FinishReason::stop_text) return;  // there are tokens that the text lacks
  known_text_ += answer.text;
  if (answer.finish == FinishReason::end_token) known_text_ += text::kEndOfSentence;
  known_ids_.insert(known_ids_.end(), answer.ids.begin(), answer.ids.end());
  known_places_.push_back({known_text_.size(), known_ids_.size()});
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
    remember(prompt, reply.answer);
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
