// SPDX-License-Identifier: Apache-2.0
// The stock conversions to the llvm dialect, as one pass: one walk instead of five.
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/compiler/passes/passes.h"

namespace tessera::compiler {
namespace {

struct ConvertToLlvmPass : mlir::PassWrapper<ConvertToLlvmPass, mlir::OperationPass<>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ConvertToLlvmPass)

  llvm::StringRef getArgument() const override { return "tile-convert-to-llvm"; }
  llvm::StringRef getDescription() const override { return "arith, math, vector and cf to llvm"; }

  void runOnOperation() override {
    mlir::MLIRContext* context = &getContext();
    mlir::LLVMTypeConverter types(context);
    mlir::RewritePatternSet patterns(context);
    mlir::arith::populateArithToLLVMConversionPatterns(types, patterns);
    mlir::populateMathToLLVMConversionPatterns(types, patterns);
    mlir::populateVectorToLLVMConversionPatterns(types, patterns);
    mlir::cf::populateControlFlowToLLVMConversionPatterns(types, patterns);
    mlir::LLVMConversionTarget target(*context);
    target.addLegalOp<mlir::ModuleOp>();
    if (failed(mlir::applyPartialConversion(getOperation(), target, std::move(patterns))))
      signalPassFailure();
  }
};

}  // namespace

std::unique_ptr<mlir::Pass> createConvertToLlvmPass() {
  return std::make_unique<ConvertToLlvmPass>();
}

}  // namespace tessera::compiler
