// SPDX-License-Identifier: Apache-2.0
// What is known of scalars before a kernel runs.
#pragma once

#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::simt {

/// A power of two, at most 128, that divides the i64 scalar.
int64_t divisorOf(tile::KernelOp kernel, mlir::Value scalar);
bool isNotNegative(mlir::Value scalar);

}  // namespace tessera::compiler::simt
