// SPDX-License-Identifier: Apache-2.0
// The operations that neither touch memory nor control: from operand values to result values whose
// types are set. Traces are type-checked before they get here.
#pragma once

#include <cstdint>
#include <span>

#include "tessera/chips/null/value.h"
#include "tessera/lang/trace.h"

namespace tessera::chips::null {

using Operands = std::span<const Value* const>;
using Results = std::span<Value* const>;

void evaluate_elementwise(const lang::Node& node, Operands operands, Results results);
void evaluate_cast(const Value& from, Value& to);
void evaluate_shape(const lang::Node& node, Operands operands, Results results);
void evaluate_across(const lang::Node& node, Operands operands, Results results);
void evaluate_dot(const lang::Node& node, Operands operands, Value& result);
void evaluate_dot_scaled(const lang::Node& node, Operands operands, Value& result);

/// The elements of a tile of any dtype as f32.
void decode_floats(const Value& from, std::vector<float>& to);

/// A tile seen as [outer, axis, inner].
struct AxisView {
  int64_t outer = 1, extent = 1, inner = 1;
  AxisView(const lang::TileShape& shape, int axis) {
    for (int d = 0; d < shape.rank(); ++d)
      (d < axis ? outer : d == axis ? extent : inner) *= shape[d];
  }
};

}  // namespace tessera::chips::null
