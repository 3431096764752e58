// SPDX-License-Identifier: Apache-2.0
// Tiles of views. Where a tile lies wholly inside its view it is read and written in place; a tile
// that sticks out is copied through scratch memory, so no other code knows of bounds. Which of the
// two is decided at run time unless it can be proven.
#pragma once

#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/cpu/evaluator.h"

namespace tessera::compiler::cpu {

/// A tile of a view.
struct Region {
  DType dtype = DType::f32;
  llvm::SmallVector<int64_t, 3> shape;
  mlir::Value base;                     // address of its first element, perhaps outside of the view
  llvm::SmallVector<Index, 3> strides;  // elements
  llvm::SmallVector<mlir::Value, 3> offsets, extents;  // in each dimension of the tile
  mlir::Value leading;  // i1: the plain indices before it are inside; null: certain
  mlir::Value full;     // i1: all of it is inside; null: certain
};

class ViewAccess {
 public:
  /// Reads the slots; at the start of the function.
  ViewAccess(Evaluator& evaluator, tile::KernelOp kernel, mlir::Value slots);

  DType dtype(int64_t view) const { return views_[view].dtype; }
  mlir::Value extent(int64_t view, int64_t dim) const { return views_[view].extents[dim].value; }
  int64_t extentDivisor(int64_t view, int64_t dim) const {
    return views_[view].extents[dim].divisor;
  }
  Index stride(int64_t view, int64_t dim) const { return views_[view].strides[dim]; }
  bool isStreamed(int64_t view) const { return views_[view].attribute.getStreamed(); }
  /// Address and byte strides or-ed together.
  mlir::Value alignmentBits(int64_t view);
  mlir::Value scalarArgument(int64_t index);

  /// The region of a load or store, or of gather and its like without the rows: `replaced` is the
  /// dimension whose offset the rows replace (-1: none); it counts as certain and offset 0.
  /// `inside`: the whole region is known to be inside.
  Region region(int64_t view, uint64_t overridden, mlir::ValueRange offsets,
                mlir::ValueRange overrides, llvm::ArrayRef<int64_t> shape, int64_t replaced = -1,
                bool inside = false);

  /// Where the tile may be read; parts outside of the view hold `fill`.
  Place readable(const Region& region, int64_t fill);
  /// Where the tile may be written; finishWrite() afterwards moves it to the view.
  Place writable(const Region& region);
  void finishWrite(const Region& region, const Place& written);
  /// i1: every row of the region of a streamed view is aligned and inside.
  mlir::Value isStreamable(int64_t view, const Region& region, int64_t alignment);
  /// Whether the lanes of the region are inside the view: null when certain.
  mlir::Value insideMask(const Region& region, const Lanes& lanes);

  /// A row-major tile in scratch memory.
  Place scratch(DType dtype, llvm::ArrayRef<int64_t> shape);
  void fill(mlir::Value pointer, DType dtype, int64_t elements, int64_t bits);

 private:
  struct Number {
    mlir::Value value;
    int64_t divisor = 1;
  };
  struct View {
    tile::ViewAttr attribute;
    DType dtype;
    mlir::Value address;
    llvm::SmallVector<Number, 4> extents;
    llvm::SmallVector<Index, 4> strides;  // the last one is 1
  };

  mlir::Value isInside(mlir::Value offset, mlir::Value extent, int64_t count,
                       mlir::Value tileOffset, bool certainBelow);
  void copyInside(const Region& region, mlir::Value to, llvm::ArrayRef<Index> toStrides,
                  mlir::Value from, llvm::ArrayRef<Index> fromStrides);
  mlir::Value copyFunction();
  mlir::Value bothOrOne(mlir::Value a, mlir::Value b);

  Evaluator& evaluator_;
  Emitter& e;
  tile::KernelOp kernel_;
  mlir::Value slots_;
  llvm::SmallVector<View> views_;
};

}  // namespace tessera::compiler::cpu
