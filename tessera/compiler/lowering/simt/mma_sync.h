// SPDX-License-Identifier: Apache-2.0
// The matrix instruction of one warp, m16n8k16.
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

enum class PairType : uint8_t { kBf16, kF16 };

/// Sums of a thread: row g, columns 2t and 2t + 1, the same of row g + 8; g = lane / 4, t = lane
/// mod 4.
inline constexpr int64_t kMmaSums = 4;

/// sums += a b^T in f32. a: pairs of rows g and g + 8, then the next pairs of K of both; b: two
/// pairs of its row g.
llvm::SmallVector<mlir::Value> multiplyAdd(Emitter& e, PairType type, mlir::ValueRange a,
                                           mlir::ValueRange b, mlir::ValueRange sums);

}  // namespace tessera::compiler::simt
