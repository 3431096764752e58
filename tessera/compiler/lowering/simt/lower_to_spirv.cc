// SPDX-License-Identifier: Apache-2.0
#include "mlir/Conversion/ArithToSPIRV/ArithToSPIRV.h"
#include "mlir/Conversion/FuncToSPIRV/FuncToSPIRV.h"
#include "mlir/Conversion/MathToSPIRV/MathToSPIRV.h"
#include "mlir/Conversion/SCFToSPIRV/SCFToSPIRV.h"
#include "mlir/Conversion/UBToSPIRV/UBToSPIRV.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "mlir/Dialect/SPIRV/Transforms/SPIRVConversion.h"
#include "mlir/Transforms/DialectConversion.h"
#include "tessera/compiler/lowering/simt/cooperative_product.h"
#include "tessera/compiler/lowering/simt/correct_rounding.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/matrix_loop.h"
#include "tessera/compiler/lowering/simt/passes.h"
#include "tessera/compiler/lowering/simt/spirv_memory.h"

namespace tessera::compiler::simt {

namespace spirv = mlir::spirv;

namespace {

/// What chips/vulkan asks of a device before it offers it; of one with cooperative matrices also
/// what only kernels with these need.
spirv::VerCapExtAttr environment(mlir::MLIRContext* context, bool cooperative) {
  using spirv::Capability;
  llvm::SmallVector<Capability> capabilities = {Capability::Shader,
                                                Capability::Int64,
                                                Capability::Int16,
                                                Capability::Int8,
                                                Capability::GroupNonUniform,
                                                Capability::GroupNonUniformShuffle,
                                                Capability::StorageBuffer16BitAccess,
                                                Capability::StorageBuffer8BitAccess,
                                                Capability::PhysicalStorageBufferAddresses};
  llvm::SmallVector<spirv::Extension> extensions;
  if (cooperative) {
    capabilities.append({Capability::CooperativeMatrixKHR, Capability::BFloat16TypeKHR,
                         Capability::BFloat16CooperativeMatrixKHR, Capability::VulkanMemoryModel});
    extensions = {spirv::Extension::SPV_KHR_cooperative_matrix, spirv::Extension::SPV_KHR_bfloat16};
  }
  return spirv::VerCapExtAttr::get(cooperative ? spirv::Version::V_1_6 : spirv::Version::V_1_5,
                                   capabilities, extensions, context);
}

mlir::LogicalResult convertToSpirv(spirv::ModuleOp module, spirv::TargetEnvAttr env) {
  mlir::MLIRContext* context = module.getContext();
  mlir::SPIRVTypeConverter types(env);
  const auto target = mlir::SPIRVConversionTarget::get(env);
  target->addLegalOp<spirv::ModuleOp>();
  mlir::ScfToSPIRVContext scf;
  mlir::RewritePatternSet patterns(context);
  mlir::arith::populateArithToSPIRVPatterns(types, patterns);
  mlir::populateMathToSPIRVPatterns(types, patterns);
  mlir::populateSCFToSPIRVPatterns(types, scf, patterns);
  mlir::populateBuiltinFuncToSPIRVPatterns(types, patterns);
  mlir::populateFuncToSPIRVPatterns(types, patterns);
  mlir::ub::populateUBToSPIRVConversionPatterns(types, patterns);
  llvm::SmallVector<mlir::Operation*> functions;
  for (mlir::Operation& op : *module.getBody())
    if (llvm::isa<mlir::func::FuncOp>(op)) functions.push_back(&op);
  return mlir::applyFullConversion(functions, *target, std::move(patterns));
}

/// The conversion of scf.for leaves the results of a loop without turns undefined: such a loop is
/// made to stand inside an `if` that otherwise gives the initial values.
void guardLoops(mlir::func::FuncOp function) {
  llvm::SmallVector<mlir::scf::ForOp> loops;
  function.walk([&](mlir::scf::ForOp loop) {
    if (loop.getNumResults() > 0) loops.push_back(loop);
  });
  for (mlir::scf::ForOp loop : loops) {
    mlir::OpBuilder builder(loop);
    const mlir::Location loc = loop.getLoc();
    const mlir::Value turns = mlir::arith::CmpIOp::create(
        builder, loc, mlir::arith::CmpIPredicate::slt, loop.getLowerBound(), loop.getUpperBound());
    auto guard =
        mlir::scf::IfOp::create(builder, loc, loop.getResultTypes(), turns, /*withElse=*/true);
    loop.replaceAllUsesWith(guard.getResults());
    loop->moveBefore(guard.thenBlock(), guard.thenBlock()->end());
    builder.setInsertionPointToEnd(guard.thenBlock());
    mlir::scf::YieldOp::create(builder, loc, loop.getResults());
    builder.setInsertionPointToEnd(guard.elseBlock());
    mlir::scf::YieldOp::create(builder, loc, loop.getInitArgs());
  }
}

class LowerToSpirv final
    : public mlir::PassWrapper<LowerToSpirv, mlir::OperationPass<mlir::ModuleOp>> {
 public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerToSpirv)
  explicit LowerToSpirv(const SimtTarget& target) : target_(target) {}
  llvm::StringRef getArgument() const override { return "lower-tile-to-spirv"; }
  void getDependentDialects(mlir::DialectRegistry& registry) const override {
    registry.insert<spirv::SPIRVDialect, mlir::arith::ArithDialect, mlir::math::MathDialect,
                    mlir::scf::SCFDialect, mlir::func::FuncDialect>();
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
    const bool cooperative =
        holdsCooperative(kernel, target_) || holdsCooperativeProduct(kernel, target_);
    auto module = spirv::ModuleOp::create(
        builder, loc, spirv::AddressingModel::PhysicalStorageBuffer64,
        cooperative ? spirv::MemoryModel::Vulkan : spirv::MemoryModel::GLSL450);
    builder.setInsertionPointToStart(module.getBody());
    auto function = mlir::func::FuncOp::create(builder, loc, kernel.getSymName(),
                                               builder.getFunctionType({}, {}));
    mlir::Block* entry = function.addEntryBlock();
    builder.setInsertionPointToStart(entry);
    mlir::func::ReturnOp::create(builder, loc);
    builder.setInsertionPointToStart(entry);

    SpirvMemory memory(builder, module, entry, kernel.getSlots());
    const auto code = emitThreadCode(builder, memory, kernel, entry, target_);
    if (mlir::failed(code)) return mlir::failure();
    memory.setSharedWords(code->sharedWords);
    guardLoops(function);
    roundCorrectly(function, target_.arithmetic);

    const spirv::VerCapExtAttr version = environment(&getContext(), cooperative);
    if (mlir::failed(convertToSpirv(
            module, spirv::TargetEnvAttr::get(
                        version, spirv::getDefaultResourceLimits(&getContext()),
                        spirv::ClientAPI::Vulkan, spirv::Vendor::Unknown,
                        spirv::DeviceType::Unknown, spirv::TargetEnvAttr::kUnknownDeviceID))))
      return kernel.emitError() << "cannot be expressed in SPIR-V";
    keepRoundings(module);
    finish(module, kernel, memory, code->threads);
    module->setAttr("vce_triple", version);
    kernel.erase();
    return mlir::success();
  }

  /// Without this, drivers may re-associate and fuse: rounding tricks and error bounds would not
  /// hold.
  static void keepRoundings(spirv::ModuleOp module) {
    module.walk([](mlir::Operation* op) {
      if (llvm::isa<spirv::FAddOp, spirv::FSubOp, spirv::FMulOp, spirv::FDivOp, spirv::FNegateOp>(
              op))
        op->setAttr("no_contraction", mlir::UnitAttr::get(op->getContext()));
    });
  }

  void finish(spirv::ModuleOp module, tile::KernelOp kernel, const SpirvMemory& memory,
              int64_t threads) {
    mlir::OpBuilder builder(&getContext());
    builder.setInsertionPointToEnd(module.getBody());
    auto function = *module.getOps<spirv::FuncOp>().begin();
    llvm::SmallVector<mlir::Attribute> interface;
    for (spirv::GlobalVariableOp variable : memory.interface())
      interface.push_back(mlir::SymbolRefAttr::get(variable));
    spirv::EntryPointOp::create(builder, kernel.getLoc(), spirv::ExecutionModel::GLCompute,
                                function, interface);
    spirv::ExecutionModeOp::create(builder, kernel.getLoc(), function,
                                   spirv::ExecutionMode::LocalSize,
                                   {static_cast<int32_t>(threads), 1, 1});
  }

  SimtTarget target_;
};

}  // namespace

std::unique_ptr<mlir::Pass> createLowerToSpirvPass(const SimtTarget& target) {
  return std::make_unique<LowerToSpirv>(target);
}

}  // namespace tessera::compiler::simt
