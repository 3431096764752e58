// SPDX-License-Identifier: Apache-2.0
// One symbolic extent of a TensorSpec: a number, or a dimension name followed by steps that are
// applied from left to right: "T", "4096", "K/128" (rounded up), "T*8", "B+1", "T*8/128".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::ops {

struct Extent {
  struct Step {
    char op;  // * / + -
    int64_t value;
  };
  std::string text;
  std::string name;  // empty: a number
  int64_t number = 0;
  std::vector<Step> steps;

  bool plain() const { return !name.empty() && steps.empty(); }
  /// The extent when the dimension has `value`.
  int64_t evaluate(int64_t value) const;
};

/// The comma-separated extents of TensorSpec::dims; an empty text is rank 0.
Result<std::vector<Extent>> parse_extents(std::string_view dims);

}  // namespace tessera::ops
