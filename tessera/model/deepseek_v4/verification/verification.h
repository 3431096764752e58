// SPDX-License-Identifier: Apache-2.0
// A model held against what another implementation computed, and the limits it must stay within.
//
// Whole models are compared by their logits. The official roundings make that blunt: one flipped
// rounding picks another expert, so an engine with noise of 1e-7 agrees with itself only to a mean
// cosine of 0.9875 over a few dozen tokens. What decides there are single layers, each fed the
// expected residual stream, and prompts too short for much to flip.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/model/deepseek_v4/verification/comparison.h"
#include "tessera/model/deepseek_v4/verification/golden.h"
#include "tessera/model/deepseek_v4/verification/subject.h"

namespace tessera::model::deepseek_v4 {

/// A figure and its limit.
struct LimitCheck {
  std::string what;  // "largest difference of a logit"
  double value = 0, limit = 0;
  bool at_least = false;  // else at most

  bool passed() const { return at_least ? value >= limit : value <= limit; }
};

struct Verification {
  Precision precision = Precision::native;
  Numbers expected = Numbers::native;
  std::vector<LogitsComparison> vectors;
  std::vector<LayerErrors> layers;  // empty without traces
  std::vector<LimitCheck> checks;

  bool passed() const;
};

/// "prompt_33", 2 of 5
using VerifyProgress = std::function<void(std::string_view what, size_t done, size_t total)>;

/// Runs all prompts, and single layers of those with traces, and judges them. `expected`: whose
/// numbers the prompts hold. Errors are the subject's.
Result<Verification> verify(Subject& subject, Precision precision, Numbers expected,
                            std::span<const Prompt> prompts, const VerifyProgress& progress);

/// Fills a prompt with the subject's own numbers: logits of its last positions and `steps` greedy
/// decode steps.
Result<> fill_prompt(Subject& subject, Prompt& prompt, int64_t steps);

/// The checks that a precision must pass against such numbers.
std::vector<LimitCheck> judge(const Verification& verification);

}  // namespace tessera::model::deepseek_v4
