// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

/// A tile's place in a view, the same for all threads: the address of its first element, and along
/// each covered dimension the indices that are in bounds.
struct KernelLowering::Window {
  int64_t view = 0;
  DType dtype = DType::f32;
  lang::TileShape shape;
  int rowDim = -1;   // of the tile: its index is replaced by a row number; or -1
  mlir::Value base;  // i64: bytes; f4: of the byte
  llvm::SmallVector<mlir::Value, 3> strides;  // i64, elements, one a dimension of the tile
  llvm::SmallVector<mlir::Value, 3> low,
      span;  // i32: in bounds is index - low < span, unsigned; low may be null
  mlir::Value rowOffset, rowExtent;  // i64, of rowDim
  mlir::Value inside;                // i1: the leading indices are in bounds; may be null
};

/// Consecutive elements of a thread.
struct KernelLowering::Chunk {
  mlir::Value address, inside;  // inside may be null: always
  mlir::Value odd;              // i1, one f4 element alone: it is the high nibble
};

}  // namespace tessera::compiler::simt
