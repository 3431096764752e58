// SPDX-License-Identifier: Apache-2.0
// Whether an answer is right, and what shares of right answers say.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tessera/engine/answer.h"
#include "tessera/engine/evaluation/suite.h"

namespace tessera::engine {

/// Without white space around it.
std::string trimmed(std::string_view text);

/// The last number in `text` as it stands there, without commas between digits: "-1,204.5" ->
/// "-1204.5". Empty: none.
std::string last_number(std::string_view text);

/// An answer that was cut off is wrong, and so is a tool call that is not well formed by DeepSeek's
/// own rules. What is said before the answer, reasoning included, does not count.
bool is_right(const Question& question, const Answer& answer, bool starts_in_reasoning);

/// A share with the Wilson interval of 95 %.
struct Share {
  int64_t right = 0, cases = 0;

  double value() const { return cases > 0 ? double(right) / double(cases) : 0; }
  double low() const;
  double high() const;
};

/// Of two runs over the same questions, which differ in `lost` that only the first got right and
/// `won` that only the second did: the chance of at least so many lost if both were equally good
/// (one-sided sign test).
double chance_of_loss(int64_t lost, int64_t won);

}  // namespace tessera::engine
