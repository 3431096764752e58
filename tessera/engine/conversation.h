// SPDX-License-Identifier: Apache-2.0
// Questions and answers, turn after turn, in the model's chat encoding.
#pragma once

#include <string>
#include <vector>

#include "tessera/engine/generator.h"
#include "tessera/text/chat_encoding.h"
#include "tessera/text/completion.h"

namespace tessera::engine {

struct Reply {
  text::Completion completion;
  Answer answer;  // its text as the model wrote it, reasoning and tags included
};

struct ReplyHooks {
  /// What is certain by now: never half a character, never half a tag.
  std::function<void(const text::Completion& part)> on_part;
  std::function<void(int64_t done, int64_t total)> on_prompt;
  const std::atomic<bool>* cancelled = nullptr;
};

class Conversation {
 public:
  /// Both outlive this object.
  Conversation(Generator& generator, const text::Tokenizer& tokenizer)
      : generator_(generator), tokenizer_(tokenizer) {}

  /// May change between turns.
  text::ChatOptions chat;
  /// Its prompt is set by ask(), and the end of sentence is added to its end tokens.
  Request request;

  const std::vector<text::Message>& messages() const { return messages_; }
  /// Appends a message without asking for an answer.
  void add(text::Message message) { messages_.push_back(std::move(message)); }
  /// Nothing was said.
  void clear();

  /// Appends the user's message and the answer, as far as it came. After an error neither is there.
  Result<Reply> ask(std::string text, const ReplyHooks& hooks = {});

 private:
  Result<std::vector<TokenId>> encode(const text::RenderedPrompt& prompt) const;
  void remember(const text::RenderedPrompt& prompt, const Answer& answer);

  Generator& generator_;
  const text::Tokenizer& tokenizer_;
  std::vector<text::Message> messages_;
  // The last prompt and answer, so that the next prompt begins with the very tokens that were used:
  // other tokens of the same text would not be found in the cache. It may share all of them or,
  // when reasoning is left out of it, those up to one of some places.
  struct Place {
    size_t text, ids;  // lengths
  };
  std::string known_text_;
  std::vector<TokenId> known_ids_;
  std::vector<Place> known_places_;  // ascending
};

}  // namespace tessera::engine
