// SPDX-License-Identifier: Apache-2.0
// Divisions that ptxas would make calls of, as plain instructions. In a function with calls it lets
// no two wgmma overlap where the code is for the driver's linker (its note C7509).
#pragma once

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

/// a / b for a below 2^63 and b below 2^53, i64.
mlir::Value quotientOf64(Emitter& e, mlir::Value a, mlir::Value b);

/// Of a kernel for NVIDIA's chips: unsigned divisions of 64 bits, of numbers as above, and
/// divisions of f32, which stay correctly rounded where operands and result are normal numbers.
void divideWithoutCalls(mlir::LLVM::LLVMFuncOp function, const CpuTarget& target);

}  // namespace tessera::compiler::simt
