// SPDX-License-Identifier: Apache-2.0
// One answer while it is written: samples, turns tokens into text, and knows when to end.
#pragma once

#include <optional>

#include "tessera/engine/answer.h"
#include "tessera/engine/stop_matcher.h"
#include "tessera/text/detokenizer.h"

namespace tessera::engine {

class AnswerWriter {
 public:
  /// `tokenizer` may be null; it, `request` and `hooks` outlive this object.
  AnswerWriter(size_t index, const Request& request, int64_t context,
               const text::Tokenizer* tokenizer, const GenerationHooks& hooks);

  const Request& request() const { return *request_; }
  bool active() const { return active_; }
  /// The last token, which no step has seen, and where it goes.
  TokenId pending() const { return answer_.ids.back(); }
  int64_t position() const { return position_; }
  /// Whether two more tokens may come, so that a draft of the first is of use.
  bool wants_draft() const;

  /// Samples the token after the pending one.
  Result<> take(std::span<const float> logits);

  void finish(FinishReason reason);

  GenerationStats& stats() { return answer_.stats; }
  Answer release() { return std::move(answer_); }

  /// What the draft block thinks comes after the pending token.
  std::optional<TokenId> draft;

 private:
  void give(TokenId id, std::string_view text);

  size_t index_;
  const Request* request_;
  const GenerationHooks* hooks_;
  int64_t context_;
  int64_t position_;  // of the pending token
  bool active_ = true;
  Sampler sampler_;
  std::optional<text::Detokenizer> detokenizer_;
  StopMatcher stops_;
  Answer answer_;
};

}  // namespace tessera::engine
