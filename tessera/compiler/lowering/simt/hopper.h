// SPDX-License-Identifier: Apache-2.0
// Instructions of sm_80 and sm_90a that the matrix loops are made of, as PTX. Rules and traps are
// those of the PTX manual's chapters on cp.async and wgmma.
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "mlir/IR/Builders.h"
#include "tessera/base/dtype.h"

namespace tessera::compiler::simt {

class Hopper {
 public:
  explicit Hopper(mlir::OpBuilder& builder) : builder_(builder) {}

  /// Copies 16 bytes from global (i64) to workgroup memory (i32 address); zeros where `inside` is
  /// false.
  void copyAsync(mlir::Location loc, mlir::Value to, mlir::Value from, mlir::Value inside);
  /// Closes the group of the copies since the last one.
  void commitCopies(mlir::Location loc);
  /// Waits until at most `pending` groups of this thread are under way, and lets the matrix unit
  /// see what they wrote (after a barrier).
  void waitForCopies(mlir::Location loc, int pending);
  /// The number of the warpgroup, known to be the same in all of its threads.
  mlir::Value warpgroup(mlir::Location loc, mlir::Value thread);
  /// Descriptor of a K-major tile with rows of 128 bytes, swizzled, at a multiple of 1024.
  mlir::Value descriptor(mlir::Location loc, mlir::Value address);

  /// sums += a b^T over 128 bytes of K: 64 rows, n columns. Sums are in the order of the
  /// instruction. At most `pending` such groups are under way afterwards; sums are valid when none
  /// is. `fresh`: the old sums do not count.
  using Sums = llvm::SmallVector<mlir::Value>;
  Sums multiply(mlir::Location loc, DType dtype, int64_t n, mlir::Value a, mlir::Value b, Sums sums,
                int pending, bool fresh);
  Sums waitForProducts(mlir::Location loc, Sums sums);

 private:
  void statement(mlir::Location loc, const std::string& text, const std::string& constraints,
                 mlir::ValueRange operands);
  Sums tied(mlir::Location loc, const std::string& text, Sums sums, mlir::ValueRange more,
            const std::string& moreConstraints);

  mlir::OpBuilder& builder_;
};

}  // namespace tessera::compiler::simt
