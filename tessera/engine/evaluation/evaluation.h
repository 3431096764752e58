// SPDX-License-Identifier: Apache-2.0
// A model asked the questions of a suite, many at a time.
#pragma once

#include <functional>
#include <map>
#include <span>

#include "tessera/engine/evaluation/score.h"
#include "tessera/engine/generator.h"
#include "tessera/text/chat_encoding.h"
#include "tessera/text/tokenizer.h"

namespace tessera::engine {

/// A question as the model gets it.
struct EncodedQuestion {
  std::vector<TokenId> prompt;
  bool starts_in_reasoning = false;
};

/// Errors: those of the chat encoding and the tokenizer.
Result<std::vector<EncodedQuestion>> encode_questions(std::span<const Question> questions,
                                                      const text::Tokenizer& tokenizer,
                                                      const text::ChatOptions& chat);

/// Neighbours whose prompts begin with the same text.
struct QuestionGroup {
  size_t first = 0, count = 0;
  int64_t shared_tokens = 0;  // 0 in a group of one
};

/// All of `encoded`, in order. Questions stand together if they share 256 tokens and half of each
/// prompt.
std::vector<QuestionGroup> group_questions(std::span<const EncodedQuestion> encoded);

struct Outcome {
  bool right = false;
  std::string text;  // what the model wrote
};

struct Evaluation {
  std::vector<Outcome> outcomes;  // one a question
  int64_t read_tokens = 0;        // of prompts, those found in the caches left out
  int64_t generated_tokens = 0, drafted_tokens = 0, accepted_tokens = 0;
  double seconds = 0;

  /// Notes the answer to a question.
  void take(size_t question, const Answer& answer, bool right);

  /// By task, in the order of names.
  std::map<std::string, Share> shares(std::span<const Question> questions) const;
};

/// Asks `batch` questions at a time, which the model's sequences have to hold; those of a group, as
/// group_questions() makes them, in turn, so that a model with snapshots reads their text once.
/// `request` says how answers are sampled and where they end. `progress` gets the number of
/// questions done.
Result<Evaluation> evaluate(Generator& generator, std::span<const Question> questions,
                            std::span<const EncodedQuestion> encoded,
                            std::vector<QuestionGroup> groups, const Request& request, size_t batch,
                            const std::function<void(size_t done)>& progress);

/// A task at which the second run is worse than the first.
struct Loss {
  std::string task;
  int64_t lost = 0, won = 0;
  double chance = 1;
};

/// Tasks at which `second` falls significantly below `first`: the sign test's chance times the
/// number of tasks is under 1 %.
std::vector<Loss> losses(std::span<const Question> questions, const Evaluation& first,
                         const Evaluation& second);

}  // namespace tessera::engine
