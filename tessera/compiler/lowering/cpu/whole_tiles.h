// SPDX-License-Identifier: Apache-2.0
// Loops in two versions. Whether a tile lies inside its view is seldom known when a kernel is
// compiled, but for all turns of a loop together it is a few comparisons before the first one.
// Where they hold, the body is straight vector code: no checks, no copies of edges, no choice
// between stores.
#pragma once

#include "tessera/compiler/lowering/cpu/kernel_lowering.h"

namespace tessera::compiler::cpu {

struct WholeTiles {
  /// i1: in every turn, tiles of all `accesses` lie inside their views, and stores that may bypass
  /// the caches are aligned for it. Null: not worth a second version.
  mlir::Value hold;
  llvm::DenseSet<mlir::Operation*> accesses;  // loads and stores of the body
};

/// Emits the comparisons; for loops that contain no others.
WholeTiles findWholeTiles(KernelLowering& k, tile::ForOp loop);

}  // namespace tessera::compiler::cpu
