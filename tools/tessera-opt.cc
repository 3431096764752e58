// SPDX-License-Identifier: Apache-2.0
// Runs single passes of the compiler on MLIR text, for tests and for looking at what a pass does:
//   tessera-opt --tile-mark-roots kernel.mlir
//   tessera-opt --tile-mark-roots --lower-to-avx512 --convert-scf-to-cf --tile-convert-to-llvm
//   kernel.mlir
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "tessera/compiler/dialects.h"
#include "tessera/compiler/lowering/cpu/passes.h"
#include "tessera/compiler/lowering/simt/passes.h"
#include "tessera/compiler/lowering/simt/row_products.h"
#include "tessera/compiler/passes/passes.h"

namespace {

using tessera::compiler::CpuTarget;

void registerLowering(llvm::StringRef name, llvm::StringRef description, const CpuTarget& target) {
  static std::vector<std::unique_ptr<mlir::PassPipelineRegistration<>>> kept;
  kept.push_back(std::make_unique<mlir::PassPipelineRegistration<>>(
      name, description, [=](mlir::OpPassManager& passes) {
        passes.addPass(tessera::compiler::cpu::createLowerTilePass(target));
      }));
}

}  // namespace

int main(int argc, char** argv) {
  mlir::registerPass(tessera::compiler::createMarkRootsPass);
  mlir::registerPass(tessera::compiler::createConvertToLlvmPass);
  mlir::registerPass([] { return tessera::compiler::simt::createRowProductsPass(); });
  mlir::PassPipelineRegistration<> nvvm(
      "lower-to-nvvm", "tile kernels to threads of sm_90a", [](mlir::OpPassManager& passes) {
        passes.addPass(tessera::compiler::simt::createLowerToNvvmPass(
            {.threads = 256,
             .laneBits = 5,
             .sharedBytes = 227 << 10,
             .matrix = tessera::compiler::simt::MatrixUnit::kWgmma,
             .arithmetic = {.lanes = 1, .hasFma = true, .ptx = 90}}));
      });
  mlir::PassPipelineRegistration<> spirv(
      "lower-to-spirv", "tile kernels to threads of Vulkan with cooperative matrices",
      [](mlir::OpPassManager& passes) {
        passes.addPass(tessera::compiler::simt::createLowerToSpirvPass(
            {.threads = 256,
             .laneBits = 5,
             .sharedBytes = 48 << 10,
             .matrix = tessera::compiler::simt::MatrixUnit::kCooperative}));
      });
  mlir::PassPipelineRegistration<> plain(
      "lower-to-plain-spirv", "tile kernels to threads of any Vulkan device",
      [](mlir::OpPassManager& passes) {
        passes.addPass(
            tessera::compiler::simt::createLowerToSpirvPass({.threads = 128,
                                                             .laneBits = 3,
                                                             .sharedBytes = 32 << 10,
                                                             .widestBytes = 8,
                                                             .choosesByStrides = true,
                                                             .multipliesInLanes = true}));
      });
  mlir::registerPass([] { return mlir::createSCFToControlFlowPass(); });
  mlir::registerPass([] { return mlir::createCSEPass(); });
  mlir::registerPass([] { return mlir::createCanonicalizerPass(); });
  CpuTarget sse2{.lanes = 4, .registers = 16, .isX86 = true};
  CpuTarget avx2{.lanes = 8, .registers = 16, .isX86 = true, .hasFma = true, .hasAvx2 = true};
  CpuTarget avx512{.lanes = 16,
                   .registers = 32,
                   .isX86 = true,
                   .hasFma = true,
                   .hasAvx2 = true,
                   .hasAvx512 = true};
  registerLowering("lower-to-sse2", "tile kernels to 128-bit vectors", sse2);
  registerLowering("lower-to-avx2", "tile kernels to 256-bit vectors", avx2);
  registerLowering("lower-to-avx512", "tile kernels to 512-bit vectors", avx512);
  CpuTarget fp16 = avx512;
  fp16.hasFp16 = true;
  registerLowering("lower-to-avx512fp16", "the same with arithmetic on f16", fp16);
  mlir::DialectRegistry registry;
  tessera::compiler::dialects().appendTo(registry);
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Tessera's compiler passes\n", registry));
}
