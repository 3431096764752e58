// SPDX-License-Identifier: Apache-2.0
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/nvvm_memory.h"
#include "tessera/compiler/lowering/simt/passes.h"
#include "tessera/compiler/lowering/simt/without_calls.h"

namespace tessera::compiler::simt {

namespace LLVM = mlir::LLVM;

namespace {

constexpr int64_t kTensorMapBytes = 128, kTensorMapAlignment = 64;
/// Array of the module: view's first slot, rank, bytes of an element, rows and columns of a box,
/// for each map (chips/cuda/tensor_map.h reads it).
constexpr llvm::StringLiteral kTensorMaps = "tensor_maps";

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
    // The slots, then gridXy and programs, then the tensor maps.
    const auto plan = pipelinePlan(kernel, target_);
    const auto maps = plan ? llvm::ArrayRef(plan->maps) : llvm::ArrayRef<TensorMap>();
    llvm::SmallVector<mlir::Type> parameters(kernel.getSlots() + 2, builder.getI64Type());
    const auto pointer = LLVM::LLVMPointerType::get(&getContext());
    parameters.append(maps.size(), pointer);
    auto function = LLVM::LLVMFuncOp::create(
        builder, loc, ptxName(kernel.getSymName()),
        LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(&getContext()), parameters));
    function->setAttr(mlir::NVVM::NVVMDialect::getKernelFuncAttrName(), builder.getUnitAttr());
    for (size_t i = 0; i < maps.size(); ++i)
      passByValue(function, static_cast<unsigned>(kernel.getSlots() + 2 + i));
    if (!maps.empty()) describeMaps(builder, kernel, maps);
    mlir::Block* entry = function.addEntryBlock(builder);
    builder.setInsertionPointToStart(entry);
    LLVM::ReturnOp::create(builder, loc, mlir::ValueRange{});
    builder.setInsertionPointToStart(entry);

    NvvmMemory memory(builder, getOperation(), entry, static_cast<uint32_t>(kernel.getSlots()));
    const auto code = emitThreadCode(builder, memory, kernel, entry, target_);
    if (mlir::failed(code)) return mlir::failure();
    if (multipliesAsynchronously(function)) divideWithoutCalls(function, target_.arithmetic);
    function->setAttr(mlir::NVVM::NVVMDialect::getMaxntidAttrName(),
                      builder.getDenseI32ArrayAttr({static_cast<int32_t>(code->threads)}));
    if (code->workgroups > 1 || plan)  // registers move between roles only with a promise
      function->setAttr(mlir::NVVM::NVVMDialect::getMinctasmAttrName(),
                        builder.getI32IntegerAttr(static_cast<int32_t>(code->workgroups)));
    kernel.erase();
    return mlir::success();
  }

  static bool multipliesAsynchronously(LLVM::LLVMFuncOp function) {
    return function
        .walk([](LLVM::InlineAsmOp op) {
          return op.getAsmString().contains("wgmma.mma_async") ? mlir::WalkResult::interrupt()
                                                               : mlir::WalkResult::advance();
        })
        .wasInterrupted();
  }

  /// A tensor map is a parameter of 128 bytes that the copy engine reads where it lies.
  void passByValue(LLVM::LLVMFuncOp function, unsigned parameter) {
    mlir::OpBuilder builder(&getContext());
    const auto bytes = LLVM::LLVMArrayType::get(builder.getI8Type(), kTensorMapBytes);
    function.setArgAttr(parameter, LLVM::LLVMDialect::getByValAttrName(),
                        mlir::TypeAttr::get(bytes));
    function.setArgAttr(parameter, LLVM::LLVMDialect::getAlignAttrName(),
                        builder.getI64IntegerAttr(kTensorMapAlignment));
    function.setArgAttr(parameter, mlir::NVVM::NVVMDialect::getGridConstantAttrName(),
                        builder.getUnitAttr());
  }

  /// What the launch makes the maps of lies in the module itself.
  void describeMaps(mlir::OpBuilder& builder, tile::KernelOp kernel,
                    llvm::ArrayRef<TensorMap> maps) {
    llvm::SmallVector<int32_t> words;
    for (const TensorMap& map : maps) {
      const tile::ViewAttr view = kernel.view(map.view);
      const auto rank = static_cast<int32_t>(view.getExtents().size());
      words.append({static_cast<int32_t>(view.getSlot()), rank,
                    static_cast<int32_t>(bits(*tile::dtypeOf(view.getType())) / 8),
                    static_cast<int32_t>(map.rows), static_cast<int32_t>(map.columns)});
    }
    constexpr unsigned kConstantMemory = 4;
    const auto count = static_cast<int64_t>(words.size());
    LLVM::GlobalOp::create(
        builder, kernel.getLoc(), LLVM::LLVMArrayType::get(builder.getI32Type(), count),
        /*isConstant=*/true, LLVM::Linkage::External, kTensorMaps,
        mlir::DenseElementsAttr::get(mlir::RankedTensorType::get({count}, builder.getI32Type()),
                                     llvm::ArrayRef<int32_t>(words)),
        /*alignment=*/4, kConstantMemory);
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
