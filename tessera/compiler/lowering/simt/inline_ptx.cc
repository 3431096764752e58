// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/inline_ptx.h"

namespace tessera::compiler::simt {

namespace LLVM = mlir::LLVM;

LLVM::InlineAsmOp inlinePtx(mlir::OpBuilder& builder, mlir::Location loc, mlir::Type result,
                            llvm::StringRef text, llvm::StringRef constraints,
                            mlir::ValueRange operands, Effects effects) {
  return LLVM::InlineAsmOp::create(builder, loc, result, operands, text, constraints,
                                   effects == Effects::kSome, /*is_align_stack=*/false,
                                   LLVM::tailcallkind::TailCallKind::None, LLVM::AsmDialectAttr(),
                                   mlir::ArrayAttr());
}

}  // namespace tessera::compiler::simt
