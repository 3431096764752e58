// SPDX-License-Identifier: Apache-2.0
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/nvvm_memory.h"
#include "tessera/compiler/lowering/simt/passes.h"

namespace tessera::compiler::simt {

namespace LLVM = mlir::LLVM;

namespace {

class LowerToNvvm final
    : public mlir::PassWrapper<LowerToNvvm, mlir::OperationPass<mlir::ModuleOp>> {
 public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerToNvvm)
  explicit LowerToNvvm(const SimtTarget& target) : target_(target) {}
  llvm::StringRef getArgument() const override { return "lower-tile-to-nvvm"; }
  void getDependentDialects(mlir::DialectRegistry& registry) const override {
    registry.insert<LLVM::LLVMDialect, mlir::NVVM::NVVMDialect, mlir::arith::ArithDialect,
                    mlir::math::MathDialect, mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  }

  void runOnOperation() override {
    for (tile::KernelOp kernel :
         llvm::make_early_inc_range(getOperation().getOps<tile::KernelOp>()))
      if (mlir::failed(lower(kernel))) return signalPassFailure();
  }

 private:
  mlir::LogicalResult lower(tile::KernelOp kernel) {
    mlir::OpBuilder builder(kernel);
    const mlir::Location loc = kernel.getLoc();
    // The slots, then gridXy and programs.
    const llvm::SmallVector<mlir::Type> parameters(kernel.getSlots() + 2, builder.getI64Type());
    auto function = LLVM::LLVMFuncOp::create(
        builder, loc, ptxName(kernel.getSymName()),
        LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(&getContext()), parameters));
    function->setAttr(mlir::NVVM::NVVMDialect::getKernelFuncAttrName(), builder.getUnitAttr());
    mlir::Block* entry = function.addEntryBlock(builder);
    builder.setInsertionPointToStart(entry);
    LLVM::ReturnOp::create(builder, loc, mlir::ValueRange{});
    builder.setInsertionPointToStart(entry);

    NvvmMemory memory(builder, getOperation(), entry);
    const auto code = emitThreadCode(builder, memory, kernel, entry, target_);
    if (mlir::failed(code)) return mlir::failure();
    function->setAttr(mlir::NVVM::NVVMDialect::getMaxntidAttrName(),
                      builder.getDenseI32ArrayAttr({static_cast<int32_t>(code->threads)}));
    if (code->workgroups > 1)
      function->setAttr(mlir::NVVM::NVVMDialect::getMinctasmAttrName(),
                        builder.getI32IntegerAttr(static_cast<int32_t>(code->workgroups)));
    kernel.erase();
    return mlir::success();
  }

  SimtTarget target_;
};

}  // namespace

std::string ptxName(llvm::StringRef kernel) {
  std::string name = kernel.str();
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

std::unique_ptr<mlir::Pass> createLowerToNvvmPass(const SimtTarget& target) {
  return std::make_unique<LowerToNvvm>(target);
}

}  // namespace tessera::compiler::simt
