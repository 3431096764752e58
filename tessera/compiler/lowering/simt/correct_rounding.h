// SPDX-License-Identifier: Apache-2.0
// Correctly rounded quotients and square roots from approximate ones, by integers: for chips that
// promise neither (Vulkan: 2.5 units in the last place for both).
#pragma once

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

/// a / b in f32, rounded to nearest even. `divide` is within three units in the last place for
/// operands in [1, 2). Where an operand or the result is no normal number, what `divide` gives.
mlir::Value roundedQuotient(Emitter& e, mlir::Value a, mlir::Value b,
                            llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> divide);

/// The square root of x in f32, likewise. `root` is within three units for x in [1, 4).
mlir::Value roundedRoot(Emitter& e, mlir::Value x,
                        llvm::function_ref<mlir::Value(mlir::Value)> root);

/// Rounds every arith.divf and math.sqrt of f32 correctly.
void roundCorrectly(mlir::func::FuncOp function, const CpuTarget& target);

}  // namespace tessera::compiler::simt
