// SPDX-License-Identifier: Apache-2.0
// Products of tiles without workgroup memory: a lane holds rows of both operands as they lie in
// memory, all of K in its registers, adds up columns of its own, and asks its neighbours for the
// other rows.
#pragma once

#include <optional>

#include "mlir/IR/Operation.h"
#include "tessera/compiler/lowering/simt/layout.h"
#include "tessera/compiler/lowering/simt/passes.h"

namespace tessera::compiler::simt {

struct LaneProduct {
  lang::TileShape a, b;  // [M, K], [N, K]
  int laneBits;
  int mostThreadBits;

  /// Of the kernel, at least.
  int threadBits() const;
  /// Lanes hold neighbouring columns; a thread has up to 2^laneBits rows of some.
  Layout sums(int threadBits) const;
  /// Lane l holds row l of those that the sums of its neighbours are about.
  Layout left(int threadBits) const;
  Layout right(int threadBits) const;
  /// Rows of a thread that its neighbours hold.
  int exchangedRowBits() const;

 private:
  Layout operand(const Layout& sums, bool isLeft) const;
};

/// Whether `op` is such a product: of rows along K, which registers have room for.
std::optional<LaneProduct> laneProduct(mlir::Operation* op, const SimtTarget& target);

}  // namespace tessera::compiler::simt
