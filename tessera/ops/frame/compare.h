// SPDX-License-Identifier: Apache-2.0
// Compares what a device computed with what the reference expects, as Tolerance states it.
#pragma once

#include <string>
#include <vector>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

struct Comparison {
  std::string wrong;  // empty: right; else the first wrong element and how many there are
  double worst =
      0;  // largest error beyond the final rounding, in units of the tolerance; 1 is the limit
};

Comparison compare_outputs(const Operator& op, const Problem& problem,
                           const std::vector<HostTensor>& inputs,
                           const std::vector<Expected>& expected,
                           const std::vector<HostTensor>& actual);

/// Distance between the neighbours of `value` in a float format; 1 for integers.
double step_at(DType dtype, double value);

/// Nine digits, which tell any two f32 apart.
std::string number_text(double value);

/// "y[3, 17]"
std::string element_name(std::string_view tensor, const Shape& shape, int64_t element);

}  // namespace tessera::ops
