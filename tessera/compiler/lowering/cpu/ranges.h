// SPDX-License-Identifier: Apache-2.0
// What is known of i64 scalars of a kernel without running it; used to leave out bounds checks.
#pragma once

#include "mlir/IR/Value.h"

namespace tessera::compiler::cpu {

bool isNonNegative(mlir::Value scalar);

/// A power of two that divides the scalar; large (2^20) for zero.
int64_t divisorOf(mlir::Value scalar);

/// offset + count <= extent for certain: a loop's variable in steps that divide the extent it ends
/// at, or before. `extentDivisor`: known to divide the extent; `view` and `dim` name it, unless it
/// is replaced by `extentOverride`.
bool fitsBelow(mlir::Value offset, int64_t count, int64_t view, int64_t dim,
               mlir::Value extentOverride, int64_t extentDivisor);

}  // namespace tessera::compiler::cpu
