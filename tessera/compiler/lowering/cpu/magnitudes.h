// SPDX-License-Identifier: Apache-2.0
// The largest magnitude of numbers that were bf16, as the bits of an f32.
#pragma once

#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::cpu {

/// The 16 bits, as i16, of the bf16 numbers of which `reduce` finds the largest magnitude as the
/// bits of an f32; null where it does something else. Their order is the same without the sign:
/// widening appends zeros. A vector has twice the lanes of them and nothing is widened.
mlir::Value wordsOfMagnitudes(tile::ReduceOp reduce);

}  // namespace tessera::compiler::cpu
