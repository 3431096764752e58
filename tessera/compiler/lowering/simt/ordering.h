// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

inline mlir::Value isNan(Emitter& e, mlir::Value x) {
  return e.compare(mlir::arith::CmpFPredicate::UNO, x, x);
}

}  // namespace tessera::compiler::simt
