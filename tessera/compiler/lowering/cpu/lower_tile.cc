// SPDX-License-Identifier: Apache-2.0
// The pass: makes the function, its loop over programs, and has each kernel's body lowered into it.
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"
#include "tessera/compiler/lowering/cpu/passes.h"

namespace tessera::compiler::cpu {
namespace {

namespace arith = mlir::arith;
namespace LLVM = mlir::LLVM;
using llvm::SmallVector;
using mlir::LogicalResult;
using mlir::Value;
using mlir::ValueRange;

/// Positions of program `id` in a grid of extents `grid`.
std::array<Value, 3> positions(Emitter& e, Value id, const std::array<Value, 3>& grid) {
  const auto split = [&](Value number, Value by) -> std::pair<Value, Value> {
    const Value quotient = e.builder.createOrFold<arith::DivUIOp>(e.loc, number, by);
    return {e.sub(number, e.mul(quotient, by)), quotient};
  };
  const auto [x, rest] = split(id, grid[0]);
  const auto [y, z] = split(rest, grid[1]);
  return {x, y, z};
}

struct LowerTilePass : mlir::PassWrapper<LowerTilePass, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(LowerTilePass)

  explicit LowerTilePass(const CpuTarget& t) : target(t) {}

  llvm::StringRef getArgument() const override { return "tile-lower-to-cpu"; }
  llvm::StringRef getDescription() const override {
    return "tile kernels to loops over 1-D vectors";
  }
  void getDependentDialects(mlir::DialectRegistry& registry) const override {
    registry.insert<arith::ArithDialect, LLVM::LLVMDialect, mlir::math::MathDialect,
                    mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  }

  void runOnOperation() override {
    for (auto kernel : llvm::to_vector(getOperation().getOps<tile::KernelOp>())) {
      if (failed(lower(kernel))) return signalPassFailure();
      kernel.erase();
    }
  }

  LogicalResult lower(tile::KernelOp kernel) {
    mlir::OpBuilder builder(kernel);
    const mlir::Type p = LLVM::LLVMPointerType::get(&getContext()), n = builder.getI64Type();
    const auto type =
        LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(&getContext()), {p, p, n, n});
    auto function = LLVM::LLVMFuncOp::create(builder, kernel.getLoc(), kernel.getSymName(), type);
    mlir::Block* entry = function.addEntryBlock(builder);
    builder.setInsertionPointToStart(entry);
    Emitter e(builder, kernel.getLoc(), target, entry);
    KernelLowering lowering(e, kernel, entry->getArgument(0));
    std::array<Value, 3> grid;
    for (int axis = 0; axis < 3; ++axis)
      grid[axis] =
          e.zeroExtend(e.load(e.i32(), e.offset(entry->getArgument(1), 4 * axis), 4), e.i64());
    LogicalResult status = mlir::success();
    e.loop(entry->getArgument(2), entry->getArgument(3), e.i64(1), {}, [&](Value id, ValueRange) {
      status = lowering.lowerBody(positions(e, id, grid), grid);
      e.loc = kernel.getLoc();
      return SmallVector<Value>();
    });
    e.releaseTiles();
    // Stores past the caches become visible to the thread that waits for this one.
    if (lowering.streams())
      LLVM::CallIntrinsicOp::create(builder, kernel.getLoc(),
                                    builder.getStringAttr("llvm.x86.sse.sfence"), ValueRange{});
    LLVM::ReturnOp::create(builder, kernel.getLoc(), ValueRange{});
    if (failed(status)) return status;
    if (e.scratchBytes() > target.maxScratch)
      return kernel.emitError() << "needs " << e.scratchBytes()
                                << " bytes of scratch memory for one program; " << target.maxScratch
                                << " are the limit: use smaller tiles";
    return mlir::success();
  }

  const CpuTarget target;
};

}  // namespace

std::unique_ptr<mlir::Pass> createLowerTilePass(const CpuTarget& target) {
  return std::make_unique<LowerTilePass>(target);
}

}  // namespace tessera::compiler::cpu
