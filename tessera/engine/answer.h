// SPDX-License-Identifier: Apache-2.0
// What is asked of a model and what comes back.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/engine/sampler.h"

namespace tessera::engine {

struct Request {
  std::vector<TokenId> prompt;
  /// Tokens of the prompt that later prompts of its sequence begin with, where the model can save
  /// them; 0: all.
  int64_t shared_tokens = 0;
  /// Tokens to generate at most; 0: as many as the context holds.
  int64_t max_new_tokens = 0;
  SamplingOptions sampling;
  /// Texts that end the answer and are no part of it. Needs a tokenizer.
  std::vector<std::string> stop;
  /// Tokens that end the answer; they count, but give no text.
  std::vector<TokenId> end_tokens;
};

enum class FinishReason : uint8_t { end_token, stop_text, length, context, cancelled };

/// "end", "stop", "length", "context", "cancelled"
std::string_view name(FinishReason reason);

struct GenerationStats {
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;     // of the prompt, found in the cache
  int64_t generated_tokens = 0;  // the end token included
  int64_t drafted_tokens = 0, accepted_tokens = 0;
  double prefill_seconds = 0;  // until the first token
  double decode_seconds = 0;   // for the others

  double prefill_rate() const {
    return prefill_seconds > 0 ? double(prompt_tokens - reused_tokens) / prefill_seconds : 0;
  }
  double decode_rate() const {
    return decode_seconds > 0 ? double(generated_tokens - 1) / decode_seconds : 0;
  }
  double acceptance() const {
    return drafted_tokens > 0 ? double(accepted_tokens) / double(drafted_tokens) : 0;
  }
};

struct Answer {
  std::vector<TokenId> ids;
  std::string text;  // of the ids, up to a stop text; empty without a tokenizer
  FinishReason finish = FinishReason::length;
  std::string stop_text;  // the one that ended it
  GenerationStats stats;
};

struct GenerationHooks {
  /// A token of the request of that index, and the text that is certain with it: whole characters,
  /// nothing that may belong to a stop text. Once more with id -1 when text is left at the end.
  std::function<void(size_t request, TokenId id, std::string_view text)> on_token;
  /// Tokens of the prompts that are done, and all of them.
  std::function<void(int64_t done, int64_t total)> on_prompt;
  /// Ends all answers at the next token when it becomes true.
  const std::atomic<bool>* cancelled = nullptr;
};

}  // namespace tessera::engine
