// SPDX-License-Identifier: Apache-2.0
// Instructions that LLVM has no intrinsic for, as text.
#pragma once

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace tessera::compiler::simt {

/// Whether it stays where it is, and as often, though nobody reads what it gives.
enum class Effects : uint8_t { kNone, kSome };

/// `text` names results and operands $0, $1, ..; `constraints` say in which registers they are.
mlir::LLVM::InlineAsmOp inlinePtx(mlir::OpBuilder& builder, mlir::Location loc, mlir::Type result,
                                  llvm::StringRef text, llvm::StringRef constraints,
                                  mlir::ValueRange operands, Effects effects);

}  // namespace tessera::compiler::simt
