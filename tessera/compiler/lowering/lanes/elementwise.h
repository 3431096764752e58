// SPDX-License-Identifier: Apache-2.0
// Code of the operations that combine elements at equal positions.
#pragma once

#include "mlir/IR/Operation.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler {

/// Opcodes neg to fma, and lookup and random_bits.
bool isElementwise(mlir::Operation* op);

/// `operands` are register lanes (memory_format.h) of one shape.
mlir::Value emitElementwise(Emitter& e, mlir::Operation* op, llvm::ArrayRef<mlir::Value> operands);

}  // namespace tessera::compiler
