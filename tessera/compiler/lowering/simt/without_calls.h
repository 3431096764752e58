// SPDX-License-Identifier: Apache-2.0
// Divisions that ptxas would make calls of, as plain instructions. In a function with calls it lets
// no two wgmma overlap where the code is for the driver's linker (its note C7509).
#pragma once

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

/// 1 / x of an f64, within 2^-19 of it.
using Reciprocal = llvm::function_ref<mlir::Value(mlir::Value)>;

/// a / b for a below 2^62 and b below 2^53, i64.
mlir::Value wideQuotient(Emitter& e, mlir::Value a, mlir::Value b, Reciprocal approximate);

/// Of a kernel for NVIDIA's chips: unsigned divisions of 64 bits, of numbers as above, and
/// divisions of f32, which stay correctly rounded where operands and result are normal numbers.
void divideWithoutCalls(mlir::LLVM::LLVMFuncOp function, const CpuTarget& target);

}  // namespace tessera::compiler::simt
