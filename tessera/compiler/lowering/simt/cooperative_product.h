// SPDX-License-Identifier: Apache-2.0
// Products of bf16 tiles that are no matrix loops, for cooperative matrices: scores of keys, the
// weighted sum of the same keys. A product is taken apart into chunks of columns and pieces of K
// that fit into workgroup memory; its sums pass through there to the registers of a layout like
// any other.
#pragma once

#include <optional>

#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/layout.h"
#include "tessera/compiler/lowering/simt/passes.h"

namespace tessera::compiler::simt {

/// sums [M, N] + a [M, K] b, where b is [N, K], or [K, N] as `bIsKn` says.
struct CooperativeProduct {
  tile::DotOp dot;
  int64_t m = 0, n = 0, k = 0;
  bool bIsKn = false;
};
/// Null: the operation is none, or the target has no cooperative matrices.
std::optional<CooperativeProduct> cooperativeProduct(mlir::Operation* dot,
                                                     const SimtTarget& target);
/// Whether a product is in there.
bool holdsCooperativeProduct(mlir::Operation* op, const SimtTarget& target);

/// How subgroups share a product: 16 rows each as far as there are some, then columns. A chunk is
/// as many neighbouring columns as subgroups side by side take at once.
struct ProductShares {
  int64_t rowGroups = 1, columnGroups = 1, columns = 0;  // columns: of a subgroup in a chunk
  int64_t chunk() const { return columns * columnGroups; }
};
ProductShares productShares(const CooperativeProduct& product, int threadBits);
/// Of its sums: eight in a row for each lane.
Layout sumsLayout(const CooperativeProduct& product, int threadBits);

}  // namespace tessera::compiler::simt
