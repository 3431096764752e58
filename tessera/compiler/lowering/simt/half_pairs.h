// SPDX-License-Identifier: Apache-2.0
// 8-bit and 4-bit floats as pairs of f16 in words of 32 bits, exact, by the conversion of two e4m3
// that NVIDIA's chips have since sm_89. NaN stays NaN.
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

bool hasPairsOfHalf(const Emitter& e);

/// Four e4m3, in their order.
llvm::SmallVector<mlir::Value> halfPairsOfE4m3(Emitter& e, mlir::Value word);
/// Eight e2m1, each times 2^-6: elements 0 and 2, 4 and 6, 1 and 3, 5 and 7.
llvm::SmallVector<mlir::Value> halfPairsOfE2m1(Emitter& e, mlir::Value word);
/// Eight e4m3 in that order.
llvm::SmallVector<mlir::Value> halfPairsInOrderOfE2m1(Emitter& e, mlir::Value low,
                                                      mlir::Value high);

}  // namespace tessera::compiler::simt
