// SPDX-License-Identifier: Apache-2.0
// The turns of a matrix loop and the stages they take, as both roles of a pipeline see them.
#pragma once

#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

/// The turns of a loop, counted from 0.
struct KernelLowering::Turns {
  KernelLowering& lowering;
  mlir::Block* body;
  mlir::Value lo, step, count;  // i64, i64, i32

  /// What the loop's scalars are in turn number `turn`.
  void enter(mlir::Value turn) const {
    Emitter& e = lowering.e_;
    lowering.scalars_[body->getArgument(0)] = e.add(lo, e.mul(e.zeroExtend(turn, e.i64()), step));
    for (mlir::Operation& inner : body->without_terminator())
      if (inner.getNumResults() == 1 && tile::isScalar(inner.getResult(0)))
        lowering.lowerScalar(&inner);
  }
};

/// A stage and the parity of its phase (i32).
struct KernelLowering::Place {
  mlir::Value stage, parity;
};

}  // namespace tessera::compiler::simt
