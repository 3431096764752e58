// SPDX-License-Identifier: Apache-2.0
// Products of bf16 tiles for wgmma (sm_90a) that are no matrix loops: of computed tiles, of tiles
// several products share, of sums that change between two products. Operands lie in workgroup
// memory, as panels of 64 columns whose rows of 128 bytes are swizzled; sums stay where the
// instruction leaves them.
#pragma once

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SmallVector.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/layout.h"
#include "tessera/compiler/lowering/simt/passes.h"

namespace tessera::compiler::simt {

/// sums [M, N] + a [M, K] b, where b is [N, K], or [K, N] as `bIsKn` says.
struct TileProduct {
  tile::DotOp dot;
  int64_t m = 0, n = 0, k = 0;
  bool bIsKn = false;

  int64_t sums() const;  // with copies: the instruction has 64 rows
};

/// A tile in workgroup memory.
struct StagedShape {
  static constexpr int64_t kPanel = 64;  // columns
  static constexpr int64_t kRowBytes = 2 * kPanel;
  static constexpr int64_t kAlignment = 1024;

  int64_t rows = 0;     // of the tile
  int64_t repeats = 1;  // the instruction has 64 rows: fewer lie there several times
  int64_t columns = 0;

  int64_t panelBytes() const { return rows * repeats * kRowBytes; }
  int64_t bytes() const;
};

/// What a product reads of a tile: all of it, or a slice of whole panels or of rows.
struct StagedPart {
  mlir::Value tile;
  int64_t row = 0, column = 0;

  /// From the tile's address to the part's.
  int64_t bytes(const StagedShape& shape) const {
    return row * StagedShape::kRowBytes + column / StagedShape::kPanel * shape.panelBytes();
  }
};

/// The products of a kernel, and the tiles they read.
class TileProducts {
 public:
  TileProducts(tile::KernelOp kernel, const SimtTarget& target);

  bool empty() const { return products_.empty(); }
  /// Null: not one of them.
  const TileProduct* of(mlir::Operation* dot) const;
  /// The threads should be 2^this at least.
  int leastThreadBits() const { return leastThreadBits_; }
  /// Of the products that are under way or worked on at once; threads share them.
  int64_t mostSums() const { return mostSums_; }
  /// Null: no product reads the tile.
  const StagedShape* staged(mlir::Value tile) const;
  StagedPart part(mlir::Value operand) const;
  /// Whether only products read what this load or gather brings.
  bool readsOnlyStaged(mlir::Operation* load) const;
  /// Whether the tile of the loop's next turn is to be copied during this one.
  bool prefetched(mlir::Operation* load) const { return prefetched_.contains(load); }
  /// Whether a staged tile is exact arithmetic on narrow numbers in memory (decode_tiles.cc): it is
  /// computed as pairs of bf16 on the way to its place, and nothing else needs what it is made of.
  bool decoded(mlir::Value tile) const { return decoded_.contains(tile); }
  /// Whether an operation is a part of such a computation.
  bool folded(mlir::Operation* op) const { return folded_.contains(op); }
  /// Whether the block's tiles have room beside so many bytes.
  bool fits(mlir::Block& block, int64_t bytes, const SimtTarget& target) const;

 private:
  void stage(mlir::Value operand, bool isA, const SimtTarget& target);
  bool isRead(mlir::OpOperand& use) const;
  int64_t bytesOf(mlir::Block& block) const;
  void choosePrefetched(tile::KernelOp kernel, int64_t room);
  void chooseDecoded(mlir::Value tile);
  void countSums(mlir::Block& block);

  llvm::DenseMap<mlir::Operation*, TileProduct> products_;
  llvm::DenseMap<mlir::Value, StagedShape> staged_;
  llvm::DenseSet<mlir::Operation*> prefetched_, folded_;
  llvm::DenseSet<mlir::Value> decoded_;
  int leastThreadBits_ = 0;
  int64_t mostSums_ = 0;
};

/// Where wgmma leaves sums [M, N]. Warpgroups share rows, then columns; of fewer than 64 rows,
/// threads hold copies.
Layout productLayout(int64_t m, int64_t n, int threadBits);
/// Of copies to panels: a thread has 2^`pieceBits` columns, threads follow along a panel, then
/// rows.
Layout panelLayout(const lang::TileShape& shape, int threadBits, int pieceBits = 3);

/// Whether a value can be computed for another turn of the loop, where its counter is known.
bool canBeRemade(mlir::Value value, tile::ForOp loop);

}  // namespace tessera::compiler::simt
