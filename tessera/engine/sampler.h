// SPDX-License-Identifier: Apache-2.0
// From logits to a token. The result depends on the logits, the options and the tokens so far, on
// nothing else. Works on logits of the host, in the order penalties, temperature, min-p, top-k,
// top-p, draw; the draw is that of the operator sample_exponential_race, so that it can move to the
// device, where that pays, without changing a text.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/engine/language_model.h"

namespace tessera::engine {

struct SamplingOptions {
  double temperature = 0;  // 0: the likeliest token, the lower id of equals
  double top_p = 1;        // the likeliest tokens that together have this probability
  int64_t top_k = 0;       // the likeliest k tokens; 0: all
  double min_p = 0;        // tokens at least this likely, as a share of the likeliest one
  uint64_t seed = 0;
  double repetition_penalty = 1;  // divides (multiplies, if negative) the logits of tokens seen
  double frequency_penalty = 0;   // taken from a logit for each time its token was generated
  double presence_penalty = 0;    // taken from a logit once its token was generated

  /// Errors (invalid_argument) name the value and its range.
  Result<> check() const;
  bool has_penalties() const {
    return repetition_penalty != 1 || frequency_penalty != 0 || presence_penalty != 0;
  }
};

/// The lowest index of the highest value. Error (corrupt): a value that is no number.
Result<TokenId> likeliest(std::span<const float> logits);

/// The tokens of one sequence, one after the other.
class Sampler {
 public:
  /// `options` passed check().
  Sampler(const SamplingOptions& options, std::span<const TokenId> prompt);

  /// The next token. Error (corrupt): a logit that is no number.
  Result<TokenId> next(std::span<const float> logits);

 private:
  struct Candidate {
    TokenId id;
    float logit;
    double weight;  // probability, not normalised

    /// The order of likelihood, without ties.
    bool operator<(const Candidate& other) const {
      return logit != other.logit ? logit > other.logit : id < other.id;
    }
  };

  TokenId draw(std::span<const float> logits, float highest);
  void keep_top_k();
  void keep_top_p();
  void apply_penalties(std::span<const float> logits);

  SamplingOptions options_;
  uint64_t step_ = 0;                          // tokens drawn
  std::unordered_map<TokenId, int64_t> seen_;  // how often each was generated
  std::vector<float> penalised_;
  std::vector<Candidate> candidates_;
};

}  // namespace tessera::engine
