// SPDX-License-Identifier: Apache-2.0
// 8-bit and 4-bit floats as pairs of f16 in words of 32 bits, exact: e4m3 by the conversion of two
// that NVIDIA's chips have since sm_89, e2m1 by moving bits. NaN stays NaN.
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

bool hasPairsOfHalf(const CpuTarget& target);

inline constexpr double kHalfOfE2m1 = 0x1p-14;

/// Four e4m3, in their order.
llvm::SmallVector<mlir::Value> halfPairsOfE4m3(Emitter& e, mlir::Value word);
/// Eight e2m1, each times kHalfOfE2m1: elements 0 and 2, 4 and 6, 1 and 3, 5 and 7.
llvm::SmallVector<mlir::Value> halfPairsOfE2m1(Emitter& e, mlir::Value word);
/// Eight e4m3 in that order.
llvm::SmallVector<mlir::Value> halfPairsInOrderOfE2m1(Emitter& e, mlir::Value low,
                                                      mlir::Value high);

}  // namespace tessera::compiler::simt
