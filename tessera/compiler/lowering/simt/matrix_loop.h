// SPDX-License-Identifier: Apache-2.0
// Loops that add up products of two loaded tiles: what matrix instructions and pipelines are for.
#pragma once

#include <optional>

#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/layout.h"
#include "tessera/compiler/lowering/simt/passes.h"

namespace tessera::compiler::simt {

/// for (..) acc = a b^T [scaled] + acc, where nothing else happens but scalars and the loads.
struct MatrixLoop {
  tile::ForOp loop;
  mlir::Operation* dot = nullptr;  // DotOp or DotScaledOp
  tile::LoadOp a, b;               // [M, K] and [N, K], 128 bytes of K
  mlir::Value aScale, bScale;      // null: none
  int64_t m = 0, n = 0, k = 0;
  DType dtype = DType::bf16;  // of a and b

  bool scaled() const { return aScale || bScale; }
};

/// The loop as one for wgmma: operands both bf16 or both e4m3, 64 or 128 rows of a.
std::optional<MatrixLoop> matchMatrixLoop(tile::ForOp loop, const SimtTarget& target);
std::optional<MatrixLoop> matrixLoopOf(mlir::Operation* dot, const SimtTarget& target);

/// Warpgroups that share the rows of a matrix loop, 64 rows each.
inline int64_t warpgroupsOf(const MatrixLoop& loop) { return loop.m / 64; }
/// Where wgmma leaves the sums [M, N].
Layout accumulatorLayout(const MatrixLoop& loop);

}  // namespace tessera::compiler::simt
