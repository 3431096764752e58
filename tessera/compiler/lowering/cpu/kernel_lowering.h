// SPDX-License-Identifier: Apache-2.0
// One kernel: walks its operations in order. Scalars are computed at once, roots are stored at
// once, everything else waits until a consumer evaluates it (evaluator.h).
#pragma once

#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/cpu/dot.h"
#include "tessera/compiler/lowering/cpu/dot_reuse.h"
#include "tessera/compiler/lowering/cpu/view_access.h"

namespace tessera::compiler::cpu {

/// How evaluating a tile reads a stored one, without the detours over other stored ones.
enum class Reads { kNot, kInPlace, kElsewhere };

/// Memory of an accumulator that only products look at.
struct CarriedSums {
  mlir::Value memory;
  DotTask::Accumulator layout;  // not kPlain
};

class KernelLowering {
 public:
  /// `ids`: the program's position in the grid, `grid`: its extents; i64.
  KernelLowering(Emitter& emitter, tile::KernelOp kernel, mlir::Value slots);

  mlir::LogicalResult lowerBody(std::array<mlir::Value, 3> ids, std::array<mlir::Value, 3> grid);

  // ---- for the files that lower one family of operations each ----
  Emitter& e;
  Evaluator evaluator;
  ViewAccess views;

  /// Where the tile lies in memory; stores it in scratch memory unless it is somewhere already.
  Place placeOf(mlir::Value tile);
  /// Evaluates the tile into a place of its shape.
  void storeTo(const Place& place, mlir::Value tile, unsigned streamedAlignment = 0);
  /// Alignment in bytes that the store needs to bypass the caches; 0: it may not.
  int64_t streamAlignment(tile::StoreOp op) const;
  /// Some store bypasses the caches: the function must end in a fence.
  bool streams() const { return streams_; }
  /// A stored tile that nothing else looks at, defined in `block`, may be overwritten by its one
  /// user there.
  bool ownsPlace(mlir::Value tile, mlir::Block* block) const;
  Reads readsOf(mlir::Value tile, mlir::Value stored);
  /// Carried accumulators kept in the layout their products want, by parameter and result of each.
  llvm::DenseMap<mlir::Value, CarriedSums> carriedSums;
  /// Products whose operand a is worth keeping between calls, and the operations that are lowered
  /// only where it is made (dot_reuse.h).
  llvm::DenseMap<mlir::Operation*, DotSource> dotSources;
  llvm::DenseSet<mlir::Operation*> deferred;
  void lowerDeferred(mlir::Operation* op) { (void)lower(op); }
  Place newPlace(mlir::Value tile) {
    return views.scratch(tile::dtypeOf(tile), tile::typeOf(tile).getShape());
  }

 private:
  mlir::LogicalResult lowerBlock(mlir::Block& block);
  mlir::LogicalResult lower(mlir::Operation* op);
  bool lowerScalarSource(mlir::Operation* op);
  void lowerLoad(tile::LoadOp op);
  bool isWorthPrefetching(tile::LoadOp op) const;
  /// The lines that loads of the region's place will want some turns from now.
  void prefetch(const Region& region);
  void lowerStore(tile::StoreOp op);
  /// Elements that one store past the caches writes.
  int64_t streamedChunk(DType dtype, int64_t extent) const;
  bool storeStreamed(tile::StoreOp op, const Region& region);
  /// The loop itself; its last scalars.
  llvm::SmallVector<mlir::Value> emitTurns(tile::ForOp op, mlir::ValueRange inits,
                                           mlir::LogicalResult& status);
  /// The same where tiles of `whole` are inside their views; forgets what was lowered.
  llvm::SmallVector<mlir::Value> emitVersion(tile::ForOp op, mlir::ValueRange inits,
                                             const llvm::DenseSet<mlir::Operation*>& whole,
                                             mlir::LogicalResult& status);
  void storeMaskedTile(tile::StoreOp op, const Region& region);
  mlir::LogicalResult lowerFor(tile::ForOp op);
  mlir::LogicalResult lowerIf(tile::IfOp op);
  void storeCarried(tile::ForOp op);

  tile::KernelOp kernel_;
  std::array<mlir::Value, 3> ids_, grid_;
  bool streams_ = false;
  llvm::DenseSet<mlir::Operation*> whole_;  // accesses inside their views, here and now
};

// ---- across.cc, sort.cc, rows.cc, dot_lowering.cc ----
void lowerReduce(KernelLowering& k, tile::ReduceOp op);
void lowerScan(KernelLowering& k, tile::ScanOp op);
void lowerConcat(KernelLowering& k, tile::ConcatOp op);
void lowerTake(KernelLowering& k, tile::TakeOp op);
void lowerHistogram(KernelLowering& k, tile::HistogramOp op);
void lowerSort(KernelLowering& k, tile::SortOp op);
void lowerGather(KernelLowering& k, tile::GatherOp op);
void lowerScatter(KernelLowering& k, tile::ScatterOp op);
void lowerAtomicAdd(KernelLowering& k, tile::AtomicAddOp op);
void lowerDot(KernelLowering& k, tile::DotOp op);
void lowerDotScaled(KernelLowering& k, tile::DotScaledOp op);

/// Looks for products in the block and fills dotSources and deferred.
void deferSources(KernelLowering& k, mlir::Block& block);

/// The layout in which carried tile number `carried` of the loop is best kept inside of it.
DotTask::Accumulator carriedLayout(KernelLowering& k, tile::ForOp loop, unsigned carried);
/// Sums of zero for a tile.
CarriedSums beginCarriedSums(KernelLowering& k, mlir::Value tile, DotTask::Accumulator layout);
/// result = init + the sums.
void endCarriedSums(KernelLowering& k, const CarriedSums& sums, mlir::Value init,
                    const Place& result);

}  // namespace tessera::compiler::cpu
