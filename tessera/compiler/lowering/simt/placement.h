// SPDX-License-Identifier: Apache-2.0
// Which tiles of a kernel are computed where they are used, and where the others are kept.
//
// Elements of a tile are dealt out to threads round robin: thread t owns elements t, t + W, t + 2W,
// .. in row-major order. A tile whose consumers all read it element for element, in this order,
// stays in its owners' private memory; one that any consumer reads otherwise lies in shared memory.
#pragma once

#include "llvm/ADT/DenseMap.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/thread_memory.h"

namespace tessera::compiler::simt {

class Placement {
 public:
  explicit Placement(tile::KernelOp kernel);

  /// Whether the value is kept (a root); others are evaluated at each use. Scalars are never roots.
  bool isRoot(mlir::Value value) const { return spaces_.contains(value); }
  Space space(mlir::Value root) const { return spaces_.lookup(root); }

 private:
  void findRoots();
  void visitUses(mlir::Operation* op);
  /// `value` is read: by its owners in order (aligned) or at any element.
  void read(mlir::Value value, bool aligned);
  void unite(mlir::Value a, mlir::Value b);

  tile::KernelOp kernel_;
  llvm::DenseMap<mlir::Value, Space> spaces_;
};

/// Element i of the operation's result is made from elements i of its tile operands, in row-major
/// order.
bool keepsOrder(mlir::Operation* op);

}  // namespace tessera::compiler::simt
