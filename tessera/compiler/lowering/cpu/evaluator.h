// SPDX-License-Identifier: Apache-2.0
// Point-wise evaluation. A tile is either stored at a Place (a root, or a view it is loaded from)
// or evaluated where it is consumed: eval() gives some lanes of it at a position as one 1-D vector.
#pragma once

#include <map>
#include <tuple>

#include "llvm/ADT/DenseMap.h"
#include "mlir/IR/Operation.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/lanes/emitter.h"
#include "tessera/compiler/lowering/lanes/memory_format.h"

namespace tessera::compiler::cpu {

/// A tile in memory: the address of its first element and, for each dimension, the distance of
/// neighbours in elements.
struct Place {
  mlir::Value pointer;
  DType dtype = DType::f32;
  llvm::SmallVector<Index, 3> strides;
};

/// `count` neighbours along `dim`, beginning at `at`. The position along dim is a multiple of
/// count.
struct Lanes {
  llvm::SmallVector<Index, 3> at;
  int dim = 0;
  int64_t count = 1;
};

class Evaluator {
 public:
  explicit Evaluator(Emitter& emitter) : e(emitter) {}

  Emitter& e;
  llvm::DenseMap<mlir::Value, mlir::Value> scalars;  // rank 0
  llvm::DenseMap<mlir::Value, Place> places;  // stored tiles, and loads that may be read late

  /// Register lanes (memory_format.h) of `tile` there.
  mlir::Value eval(mlir::Value tile, const Lanes& lanes);
  mlir::Value read(const Place& place, const Lanes& lanes);
  /// `streamedAlignment`: not 0 = bypass the caches; all positions have this alignment in bytes.
  void write(const Place& place, mlir::Value value, const Lanes& lanes,
             unsigned streamedAlignment = 0);

  /// The dimension along which chunks of a tile of this shape run: the last one that is not 1.
  static int vectorDim(llvm::ArrayRef<int64_t> shape);
  int64_t chunkOf(int64_t extent) const { return std::min<int64_t>(extent, 2 * e.target.lanes); }
  /// How many chunks of the tile may be written out one after the other: fewer, the more code one
  /// takes.
  int64_t unrollLimit(mlir::Value tile) const;
  /// Calls `body` for chunks that cover `shape`. Up to `limit` chunks are written out, with
  /// constant positions, so that LLVM can keep small tiles in registers; more become loops.
  void forEachChunk(llvm::ArrayRef<int64_t> shape, int dim, int64_t count, int64_t limit,
                    llvm::function_ref<void(const Lanes&)> body);
  /// The values memorised inside `body`, which emits into another region, do not leak out.
  void scoped(llvm::function_ref<void()> body);
  /// Stored tiles changed: what was read before is no longer valid.
  void forget() { memo_.clear(); }

 private:
  using Key = std::tuple<const void*, llvm::SmallVector<Index, 3>, int, int64_t>;

  mlir::Value evalOp(mlir::Operation* op, mlir::Value tile, const Lanes& lanes);
  /// Null where the code is made of its operand as any other.
  mlir::Value evalScaledCodes(tile::CastOp codes, const Lanes& lanes);
  mlir::Value evalBroadcast(mlir::Value x, const Lanes& lanes, int64_t resultRank);
  /// Lanes of x, which is stretched to lanes of a result of this rank: as many, or one for all.
  mlir::Value evalUnstretched(mlir::Value x, const Lanes& lanes, int64_t resultRank);
  mlir::Value evalReshape(mlir::Value x, llvm::ArrayRef<int64_t> shape, const Lanes& lanes);
  mlir::Value evalTranspose(mlir::Value x, llvm::ArrayRef<int64_t> permutation, const Lanes& lanes);
  mlir::Value evalSplit(mlir::Value x, bool odd, const Lanes& lanes);
  mlir::Value evalJoin(mlir::Value even, mlir::Value odd, const Lanes& lanes);
  mlir::Value evalIota(int axis, const Lanes& lanes);
  mlir::Value lanesOneByOne(int64_t count, llvm::function_ref<mlir::Value(int64_t)> lane);
  Index linearIndex(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<Index> at);

  std::map<Key, mlir::Value> memo_;
};

/// Row-major strides of a shape.
llvm::SmallVector<int64_t, 3> rowMajor(llvm::ArrayRef<int64_t> shape);

}  // namespace tessera::compiler::cpu
