// SPDX-License-Identifier: Apache-2.0
// Chooses the layout of every tile of a kernel, and how many threads a program has.
//
// Loads want one wide access a thread, products their accumulator's layout; everything else follows
// its operands. Tiles made of constants, positions and broadcasts alone have no layout of their
// own: they are made, for each consumer, in the layout it wants. So are loads that are only
// stretched.
#pragma once

#include <optional>

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/layout.h"
#include "tessera/compiler/lowering/simt/passes.h"
#include "tessera/compiler/lowering/simt/tile_products.h"

namespace tessera::compiler::simt {

class LayoutAssignment {
 public:
  /// `threadBits`: log2 of the threads; 0: as many as suit the kernel.
  LayoutAssignment(tile::KernelOp kernel, const SimtTarget& target, int threadBits = 0);

  const TileProducts& products() const { return products_; }
  int threadBits() const { return threadBits_; }
  int64_t threads() const { return int64_t{1} << threadBits_; }
  /// Null: the tile is made as its consumers want it.
  const Layout* of(mlir::Value tile) const;
  /// of(), or the layout of a load of this tile.
  Layout ownOrBlocked(mlir::Value tile) const;
  /// Whether neighbours along the last dimension lie in two lanes of a warp.
  bool exchangesHalves(const Layout& layout) const {
    const int lane = layout.threadBitOf(0);
    return lane >= 0 && lane < target_.laneBits;
  }
  Layout blocked(mlir::Value tile) const;
  /// Whether the matrix unit transforms rows of what is loaded, see hadamard.h.
  bool isTransformed(tile::LoadOp load) const;

 private:
  void chooseThreads();
  bool streamsSums();
  void chooseCarried();
  std::optional<Layout> follow(mlir::Value tile);
  std::optional<Layout> compute(mlir::Value tile);
  std::optional<Layout> wantedByLanes(mlir::Value tile) const;
  bool onlyStretched(tile::LoadOp load);
  bool namesRows(tile::LoadOp load);
  std::optional<Layout> ofShape(mlir::Operation* op, mlir::Value tile);
  std::optional<Layout> first(mlir::ValueRange tiles);
  Layout ownLayout(mlir::Value tile);

  tile::KernelOp kernel_;
  const SimtTarget& target_;
  const TileProducts products_;
  int threadBits_ = 0;
  int vector_ = 0;  // log2 of the elements in one access to the narrowest memory type
  llvm::DenseMap<mlir::Value, std::optional<Layout>> layouts_;
  llvm::DenseSet<mlir::Value> visiting_;
};

/// The layout a split needs its source in: the lowest bit in a register.
Layout splitSource(const Layout& source);
/// Whether a slice can pick registers: it is aligned, and the bits it fixes are register bits.
bool slicesRegisters(tile::SliceOp slice, const Layout& source);
/// What reads and writes memory, with the tile it moves.
std::optional<std::pair<int64_t, mlir::Value>> memoryAccess(mlir::Operation* op);

}  // namespace tessera::compiler::simt
