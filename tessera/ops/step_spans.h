// SPDX-License-Identifier: Apache-2.0
// Test inputs of operators that work on the rows of a step: which sequence and position a row has.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

/// Rows [first_row, first_row + rows) of a step: consecutive positions of one sequence.
struct StepSpan {
  int64_t sequence, first_row, position, rows;
};

/// T rows as the case's note says: "prompt" from position 0; "chunk" from `later` on; "decode" one
/// row of each of T sequences, at positions 0, 1, .. and beyond `later`; "mixed" a chunk and decode
/// rows of other sequences.
inline std::vector<StepSpan> step_spans(Inputs& in, int64_t rows, int64_t later) {
  const std::string& note = in.test_case().note;
  std::vector<StepSpan> spans;
  if (note == "prompt") return {{0, 0, 0, rows}};
  if (note == "chunk") return {{1, 0, later, rows}};
  const int64_t single = note == "mixed" ? std::min<int64_t>(2, rows) : rows;
  for (int64_t t = 0; t < single; ++t)
    spans.push_back({single - 1 - t, t, t < 3 ? t : in.integer(later, 2 * later), 1});
  if (note == "mixed") {
    spans[0].position = later + 3;
    if (rows > single) spans.push_back({single, single, later, rows - single});
  }
  return spans;
}

}  // namespace tessera::ops
