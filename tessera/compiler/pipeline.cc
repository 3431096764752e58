// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/pipeline.h"

#include <fmt/format.h>

#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/SPIRV/Serialization.h"
#include "mlir/Transforms/Passes.h"
#include "tessera/compiler/dialects.h"
#include "tessera/compiler/ir/import_trace.h"
#include "tessera/compiler/lowering/cpu/passes.h"
#include "tessera/compiler/lowering/simt/row_products.h"
#include "tessera/compiler/passes/passes.h"

namespace tessera::compiler {
namespace {

/// The passes, in order.
void addPasses(mlir::PassManager& passes, const CpuMachine& machine) {
  passes.addPass(mlir::createCSEPass());
  passes.addPass(createMarkRootsPass());
  passes.addPass(cpu::createLowerTilePass(machine.target));
  passes.addPass(mlir::createSCFToControlFlowPass());
  passes.addPass(createConvertToLlvmPass());
}

void addVulkanPasses(mlir::PassManager& passes, const SimtMachine& machine) {
  passes.addPass(mlir::createCSEPass());
  passes.addPass(simt::createRowProductsPass(machine.target));
  passes.addPass(mlir::createCSEPass());
  passes.addPass(simt::createLowerToSpirvPass(machine.target));
  passes.addPass(mlir::createCSEPass());
}

void addNvidiaPasses(mlir::PassManager& passes, const SimtMachine& machine) {
  passes.addPass(mlir::createCSEPass());
  passes.addPass(simt::createRowProductsPass(machine.target));
  passes.addPass(mlir::createCSEPass());
  passes.addPass(simt::createLowerToNvvmPass(machine.target));
  passes.addPass(mlir::createSCFToControlFlowPass());
  passes.addPass(createConvertToLlvmPass());
}

void instrument(mlir::PassManager& passes, const CompileOptions& options) {
  if (options.print_timing) passes.enableTiming();
  if (!options.print_ir) return;
  passes.enableIRPrinting(
      [](mlir::Pass*, mlir::Operation*) { return false; },
      [](mlir::Pass*, mlir::Operation*) { return true; }, /*printModuleScope=*/true,
      /*printAfterOnlyOnChange=*/true, /*printAfterOnlyOnFailure=*/false, llvm::errs());
}

void printImported(mlir::ModuleOp module, const CompileOptions& options) {
  if (options.print_ir) llvm::errs() << "// -----// As imported //----- //\n" << module << "\n";
}

/// Everything MLIR says while one kernel is compiled, as one text.
class Diagnostics {
 public:
  explicit Diagnostics(mlir::MLIRContext& context)
      : handler_(&context, [this](mlir::Diagnostic& diagnostic) { collect(diagnostic); }) {}

  Error error(const lang::Trace& trace) const {
    return unsupported(
        fmt::format("kernel {}: {}", trace.name, text_.empty() ? "compilation failed" : text_));
  }

 private:
  void collect(mlir::Diagnostic& diagnostic) {
    if (diagnostic.getSeverity() != mlir::DiagnosticSeverity::Error) return;
    if (!text_.empty()) text_ += "; ";
    if (const auto at = llvm::dyn_cast<mlir::FileLineColLoc>(diagnostic.getLocation()))
      text_ += fmt::format("{}:{}: ", at.getFilename().str(), at.getLine());
    text_ += diagnostic.str();
  }

  std::string text_;
  mlir::ScopedDiagnosticHandler handler_;
};

void printStages(const lang::Trace& trace, const StageTimer& timer) {
  llvm::errs() << trace.name << ":";
  for (const auto& [stage, milliseconds] : timer.stages())
    llvm::errs() << fmt::format(" {} {:.1f}", std::string_view(stage), milliseconds);
  llvm::errs() << " ms\n";
}

}  // namespace

Result<runtime::KernelImage> compileForCpu(const lang::Trace& trace, const CpuMachine& machine,
                                           const CompileOptions& options) {
  StageTimer own;
  StageTimer& timer = options.stages != nullptr ? *options.stages : own;
  mlir::MLIRContext context(dialects(), mlir::MLIRContext::Threading::DISABLED);
  const Diagnostics diagnostics(context);
  timer.finish("context");
  mlir::OwningOpRef<mlir::ModuleOp> module = tile::importTrace(context, trace);
  if (failed(mlir::verify(*module))) return diagnostics.error(trace);
  printImported(*module, options);
  timer.finish("import");

  mlir::PassManager passes(&context);
  passes.enableVerifier(options.print_ir);
  instrument(passes, options);
  addPasses(passes, machine);
  if (failed(passes.run(*module))) return diagnostics.error(trace);
  timer.finish("mlir");

  auto code = compileToSharedObject(*module, trace.name, machine.machine, options.dump_assembly,
                                    options.memo, timer);
  if (!code.ok()) return std::move(code).context(fmt::format("kernel {}", trace.name)).error();
  if (options.print_timing) printStages(trace, timer);

  runtime::KernelImage image;
  image.format = machine.format;
  image.entry = std::move(code->entry);
  image.code = std::move(code->bytes);
  image.slot_count = trace.slot_count;
  image.required_features = machine.requiredFeatures;
  return image;
}

namespace {

using AddSimtPasses = void (*)(mlir::PassManager&, const SimtMachine&);
using EmitSimtCode = Result<std::vector<std::byte>> (*)(mlir::ModuleOp, const SimtMachine&,
                                                        const CompileOptions&);

Result<runtime::KernelImage> compileForSimt(const lang::Trace& trace, const SimtMachine& machine,
                                            const CompileOptions& options, AddSimtPasses add_passes,
                                            EmitSimtCode emit_code) {
  mlir::MLIRContext context(dialects(), mlir::MLIRContext::Threading::DISABLED);
  const Diagnostics diagnostics(context);
  mlir::OwningOpRef<mlir::ModuleOp> module = tile::importTrace(context, trace);
  if (failed(mlir::verify(*module))) return diagnostics.error(trace);
  printImported(*module, options);
  mlir::PassManager passes(&context);
  passes.enableVerifier(options.print_ir);
  instrument(passes, options);
  add_passes(passes, machine);
  if (failed(passes.run(*module))) return diagnostics.error(trace);
  auto code = emit_code(*module, machine, options);
  if (!code.ok()) return std::move(code).context(fmt::format("kernel {}", trace.name)).error();

  runtime::KernelImage image;
  image.code = std::move(code).value();
  image.slot_count = trace.slot_count;
  const auto noted = [&](llvm::StringRef attribute) {
    return static_cast<uint32_t>(
        llvm::cast<mlir::IntegerAttr>((*module)->getAttr(attribute)).getInt());
  };
  image.workgroup_size = noted(simt::kThreadsAttribute);
  image.shared_bytes = noted(simt::kSharedBytesAttribute);
  image.required_features = machine.requiredFeatures;
  return image;
}

std::vector<std::byte> toBytes(llvm::ArrayRef<char> text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

Result<std::vector<std::byte>> serializeSpirv(mlir::ModuleOp module, const SimtMachine&,
                                              const CompileOptions&) {
  llvm::SmallVector<uint32_t, 0> words;
  if (failed(mlir::spirv::serialize(*module.getOps<mlir::spirv::ModuleOp>().begin(), words)))
    return internal_error("the SPIR-V module cannot be serialised");
  return toBytes({reinterpret_cast<const char*>(words.data()), words.size() * sizeof words[0]});
}

Result<std::vector<std::byte>> emitPtx(mlir::ModuleOp module, const SimtMachine& machine,
                                       const CompileOptions& options) {
  StageTimer timer;
  TESSERA_ASSIGN(const std::vector<char> text,
                 compileToAssembly(module, machine.machine, options.dump_assembly, timer));
  return toBytes(text);
}

}  // namespace

Result<runtime::KernelImage> compileForVulkan(const lang::Trace& trace, const SimtMachine& machine,
                                              const CompileOptions& options) {
  TESSERA_ASSIGN(runtime::KernelImage image,
                 compileForSimt(trace, machine, options, addVulkanPasses, serializeSpirv));
  image.format = "spirv";
  image.entry = trace.name;
  return image;
}

Result<runtime::KernelImage> compileForNvidia(const lang::Trace& trace, const SimtMachine& machine,
                                              const CompileOptions& options) {
  TESSERA_ASSIGN(runtime::KernelImage image,
                 compileForSimt(trace, machine, options, addNvidiaPasses, emitPtx));
  image.format = "ptx";
  image.entry = simt::ptxName(trace.name);
  return image;
}

}  // namespace tessera::compiler
