// SPDX-License-Identifier: Apache-2.0
// Which numbers an i32 tile can hold, from how it is made.
#pragma once

#include <cstdint>

#include "mlir/IR/Value.h"

namespace tessera::compiler::cpu {

/// Both ends belong to it.
struct IntegerRange {
  int64_t least, most;

  bool within(int64_t low, int64_t high) const { return low <= least && most <= high; }
};

/// Of every element of `tile`, an i32 tile; all of i32 where nothing is known.
IntegerRange rangeOf(mlir::Value tile);

}  // namespace tessera::compiler::cpu
