// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/pipeline.h"

#include <fmt/format.h>

#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Transforms/Passes.h"
#include "tessera/compiler/dialects.h"
#include "tessera/compiler/ir/import_trace.h"
#include "tessera/compiler/lowering/cpu/passes.h"
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

void instrument(mlir::PassManager& passes, const CompileOptions& options) {
  if (options.print_timing) passes.enableTiming();
  if (!options.print_ir) return;
  passes.enableIRPrinting([](mlir::Pass*, mlir::Operation*) { return false; },
                          [](mlir::Pass*, mlir::Operation*) { return true; }, /*printModuleScope=*/true,
                          /*printAfterOnlyOnChange=*/true, /*printAfterOnlyOnFailure=*/false, llvm::errs());
}

/// Everything MLIR says while one kernel is compiled, as one text.
class Diagnostics {
 public:
  explicit Diagnostics(mlir::MLIRContext& context)
      : handler_(&context, [this](mlir::Diagnostic& diagnostic) { collect(diagnostic); }) {}

  Error error(const lang::Trace& trace) const {
    return unsupported(fmt::format("kernel {}: {}", trace.name, text_.empty() ? "compilation failed" : text_));
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
                                           const CompileOptions& options, StageTimer* stages) {
  StageTimer own;
  StageTimer& timer = stages != nullptr ? *stages : own;
  mlir::MLIRContext context(dialects(), mlir::MLIRContext::Threading::DISABLED);
  const Diagnostics diagnostics(context);
  timer.finish("context");
  mlir::OwningOpRef<mlir::ModuleOp> module = tile::importTrace(context, trace);
  if (failed(mlir::verify(*module))) return diagnostics.error(trace);
  timer.finish("import");

  mlir::PassManager passes(&context);
  passes.enableVerifier(options.print_ir);
  instrument(passes, options);
  addPasses(passes, machine);
  if (failed(passes.run(*module))) return diagnostics.error(trace);
  timer.finish("mlir");

  auto object = compileToObject(*module, machine.machine, options.dump_assembly, timer);
  if (!object.ok()) return std::move(object).context(fmt::format("kernel {}", trace.name)).error();
  auto linked = linkSharedObject(*object, timer);
  if (!linked.ok()) return std::move(linked).context(fmt::format("kernel {}", trace.name)).error();
  if (options.print_timing) printStages(trace, timer);

  runtime::KernelImage image;
  image.format = machine.format;
  image.entry = trace.name;
  image.code = std::move(linked).value();
  image.slot_count = trace.slot_count;
  image.required_features = machine.requiredFeatures;
  return image;
}

}  // namespace tessera::compiler
