// SPDX-License-Identifier: Apache-2.0
// Prompts in, answers out. Keeps what the model's caches hold, so that a prompt that goes on from
// an earlier one is computed from where they part.
#pragma once

#include <vector>

#include "tessera/engine/answer_writer.h"

namespace tessera::engine {

struct GeneratorOptions {
  /// Tokens of a prompt that go into one step at most; 0: the model's largest step.
  int64_t chunk = 0;
  /// Draft tokens with the model's draft block and verify them two at a time. A token counts only
  /// when the model itself would have sampled it, so with a model whose rows do not depend on their
  /// neighbours the answers are those without drafts, bit for bit.
  bool speculate = false;
};

/// One thread at a time.
class Generator {
 public:
  /// `model` and `tokenizer` outlive this object; without a tokenizer answers have no text.
  Generator(LanguageModel& model, const text::Tokenizer* tokenizer, GeneratorOptions options = {});

  /// The answers of all requests, written together; request i uses sequence i of the model. Errors
  /// (invalid_argument): a prompt that is empty, longer than the context or has ids the model
  /// lacks, more requests than sequences, options out of range; besides those of the model. After
  /// an error nothing is reused.
  Result<std::vector<Answer>> generate(std::span<const Request> requests,
                                       const GenerationHooks& hooks = {});

  /// Nothing of what was computed is reused.
  void forget();

 private:
  struct Sequence {
    std::vector<TokenId> held;  // tokens whose keys the caches hold, by position
    int64_t highest = 0;        // one past the last position written since position 0 was
    int64_t saved_highest = 0;  // when the model saved the sequence
  };

  Result<std::vector<Answer>> run(std::span<const Request> requests, const GenerationHooks& hooks);
  Result<> check(std::span<const Request> requests) const;
  Result<> prefill(size_t index, AnswerWriter& writer, const GenerationHooks& hooks);
  Result<> decode(std::vector<AnswerWriter>& writers);
  /// `accepted`: rows of the last step that count, with the tokens that follow them.
  Result<> draft(std::span<const TokenSpan> accepted, std::vector<AnswerWriter>& writers);
  /// Position from which the prompt has to be computed; brings the sequence back to where the model
  /// saved it if that helps.
  Result<int64_t> begin(size_t index, std::span<const TokenId> prompt);
  void keep(size_t index, int64_t position, std::span<const TokenId> tokens);
  std::span<const float> row(std::span<const float> logits, size_t index) const;

  LanguageModel& model_;
  const text::Tokenizer* tokenizer_;
  GeneratorOptions options_;
  std::vector<Sequence> sequences_;
  int64_t prompt_done_ = 0, prompt_total_ = 0;
};

}  // namespace tessera::engine
