// SPDX-License-Identifier: Apache-2.0
// Lowers a tile.kernel to the code of one thread: scalar arith, math and scf over a ThreadMemory.
// Plain on purpose: elements are dealt to threads round robin, products are FMA loops, nothing is
// staged.
#pragma once

#include "llvm/ADT/DenseMap.h"
#include "mlir/Support/LogicalResult.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/lanes/emitter.h"
#include "tessera/compiler/lowering/simt/passes.h"
#include "tessera/compiler/lowering/simt/placement.h"
#include "tessera/compiler/lowering/simt/thread_memory.h"

namespace tessera::compiler::simt {

/// One element of a tile, as seen by the thread that computes it.
struct Point {
  llvm::SmallVector<mlir::Value, 3> index;  // i32, one a dimension
  mlir::Value linear;                       // i32, row-major position
  mlir::Value owned;  // i32, position among the thread's own elements; null if not owned
  /// Values already computed here, so that a shared subexpression is computed once.
  mutable llvm::DenseMap<mlir::Value, mlir::Value> known;
};

class KernelLowering {
 public:
  KernelLowering(Emitter& emitter, ThreadMemory& memory, tile::KernelOp kernel, int64_t threads);

  /// Emits the whole kernel at the emitter's insertion point: a loop over the programs of this
  /// workgroup.
  mlir::LogicalResult run();
  /// Words of shared memory the kernel needs; known after run().
  int64_t sharedWords() const { return sharedPeak_; }

 private:
  using PointBody = llvm::function_ref<void(const Point&)>;

  // ---- control (kernel_lowering.cc) ----
  mlir::LogicalResult lowerBlock(mlir::Block& block);
  mlir::LogicalResult lowerOperation(mlir::Operation* op);
  mlir::LogicalResult lowerFor(tile::ForOp loop);
  mlir::LogicalResult lowerIf(tile::IfOp branch);
  void lowerStore(tile::StoreOp store);
  void lowerRowUpdate(mlir::Operation* op);
  /// Computes a root into its array.
  void materialise(mlir::Value root, llvm::function_ref<mlir::Value(const Point&)> element);
  void assign(const Array& to, mlir::Value from);
  const Array& allocate(mlir::Value root);
  void barrier() { memory_.barrier(e_.loc); }
  bool isShared(mlir::Value root) const { return placement_.space(root) == Space::kShared; }

  // ---- elements (elements.cc) ----
  void forOwned(const lang::TileShape& shape, PointBody body);
  Point pointAt(const lang::TileShape& shape, mlir::Value linear);
  Point pointFrom(const lang::TileShape& shape, llvm::ArrayRef<mlir::Value> index);
  mlir::Value evaluate(mlir::Value tile, const Point& point);
  mlir::Value evaluateLazy(mlir::Operation* op, mlir::Value tile, const Point& point);
  mlir::Value evaluateShape(mlir::Operation* op, mlir::Value tile, const Point& point);
  mlir::Value scalar(mlir::Value value);

  // ---- views (views.cc) ----
  struct Element {
    mlir::Value inside;   // i1
    mlir::Value address;  // i64
    mlir::Value odd;      // i1: the high nibble of a 4-bit pair; null otherwise
  };
  Element locate(int64_t view, mlir::ValueRange offsets, int64_t overridden,
                 mlir::ValueRange overrides, const Point& point, mlir::Value row);
  mlir::Value loadElement(tile::LoadOp load, const Point& point);
  mlir::Value gatherElement(tile::GatherOp gather, const Point& point);
  mlir::Value readElement(int64_t view, const Element& element, int64_t fill);

  // ---- across elements (across.cc) ----
  void lowerReduce(tile::ReduceOp op);
  void lowerScan(tile::ScanOp op);
  void lowerHistogram(tile::HistogramOp op);
  void lowerSort(tile::SortOp op);
  void lowerDot(mlir::Operation* op);
  mlir::Value product(mlir::Operation* op, const Point& out, mlir::Value k);

  static lang::TileType typeOf(mlir::Value value) { return *tile::tileType(value.getType()); }
  DType dtypeOf(mlir::Value value) const { return typeOf(value).dtype; }

  Emitter& e_;
  ThreadMemory& memory_;
  tile::KernelOp kernel_;
  const int64_t threads_;
  Placement placement_;
  mlir::Value thread_;                                      // i32
  llvm::DenseMap<mlir::Value, mlir::Value> scalars_;        // of rank 0
  llvm::DenseMap<mlir::Value, Array> arrays_;               // of roots
  llvm::SmallVector<mlir::Value, 3> programId_, gridSize_;  // i64
  int64_t sharedTop_ = 0, sharedPeak_ = 0;
};

/// Emits the kernel at the builder's insertion point in `entry` and notes on the module what shared
/// memory it needs (kSharedBytesAttribute). Fails, with a diagnostic, when that is more than the
/// target has. Returns the words of shared memory.
mlir::FailureOr<int64_t> emitThreadCode(mlir::OpBuilder& builder, ThreadMemory& memory,
                                        tile::KernelOp kernel, mlir::Block* entry,
                                        const SimtTarget& target);

}  // namespace tessera::compiler::simt
