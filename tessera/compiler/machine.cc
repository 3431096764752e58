// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/machine.h"

#include <fmt/format.h>

#include <memory>
#include <mutex>

#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/Transforms/Utils/Cloning.h"
#include "mlir/Target/LLVMIR/Export.h"

namespace tessera::compiler {
namespace {

void initializeTargets() {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmPrinters();
  });
}

Result<std::unique_ptr<llvm::TargetMachine>> createTargetMachine(const Machine& machine) {
  initializeTargets();
  const llvm::Triple triple(machine.triple);
  std::string text;
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(triple, text);
  if (target == nullptr)
    return unsupported(fmt::format("LLVM has no target {}: {}", machine.triple, text));
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;
  std::unique_ptr<llvm::TargetMachine> created(
      target->createTargetMachine(triple, machine.cpu, machine.features, options, llvm::Reloc::PIC_,
                                  std::nullopt, llvm::CodeGenOptLevel::Default));
  if (!created) return unsupported(fmt::format("LLVM makes no code for {}", machine.triple));
  return created;
}

void describeMachine(llvm::Module& module, const llvm::TargetMachine& target,
                     const Machine& machine) {
  module.setDataLayout(target.createDataLayout());
  module.setTargetTriple(target.getTargetTriple());
  for (llvm::Function& function : module) {
    if (function.isDeclaration()) continue;
    function.addFnAttr("target-cpu", machine.cpu);
    function.addFnAttr("target-features", machine.features);
    function.addFnAttr("prefer-vector-width", fmt::format("{}", machine.vectorBits));
    if (!target.getTargetTriple().isNVPTX())
      function.addFnAttr("probe-stack",
                         "inline-asm");  // large frames must not jump over the guard page
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
}

/// What code for processors needs: it is one function, vectorised and unrolled already, so scratch
/// becomes registers, addresses are simplified and leave their loops. LLVM's O2 takes twice as long
/// (it runs InstCombine eight times) for code 4 to 7 % shorter.
constexpr const char* kCpuPasses =
    "function("
    "sroa<modify-cfg>,early-cse<memssa>,simplifycfg,"
    "instcombine<max-iterations=1;no-verify-fixpoint>,correlated-propagation,reassociate,"
    "loop-mssa(loop-instsimplify,loop-simplifycfg,licm<no-allowspeculation>,loop-rotate,"
    "licm<allowspeculation>),"
    "simplifycfg,loop(indvars,loop-deletion),sroa<modify-cfg>,gvn,bdce,"
    "instcombine<max-iterations=1;no-verify-fixpoint>,adce,memcpyopt,dse,"
    "loop-mssa(licm<allowspeculation>),"
    "simplifycfg<switch-range-to-icmp;hoist-common-insts;sink-common-insts>,"
    "instcombine<max-iterations=1;no-verify-fixpoint>,div-rem-pairs)";

void optimize(llvm::Module& module, llvm::TargetMachine& target) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopInterleaving = false;
  tuning.LoopUnrolling = false;
  llvm::PassBuilder builder(&target, tuning);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager calls;
  llvm::ModuleAnalysisManager modules;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(calls);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, calls, modules);
  if (target.getTargetTriple().isNVPTX())
    return (void)builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2)
        .run(module, modules);
  llvm::ModulePassManager passes;
  llvm::cantFail(builder.parsePassPipeline(passes, kCpuPasses));
  passes.run(module, modules);
}

Result<void> emit(llvm::Module& module, llvm::TargetMachine& target, llvm::CodeGenFileType type,
                  llvm::raw_pwrite_stream& out) {
  llvm::legacy::PassManager passes;
  if (target.addPassesToEmitFile(passes, out, nullptr, type))
    return internal_error("LLVM cannot write this kind of file");
  passes.run(module);
  return {};
}

Result<void> writeAssembly(const llvm::Module& module, llvm::TargetMachine& target,
                           const std::string& file) {
  std::error_code error;
  llvm::raw_fd_ostream out(file, error);
  if (error) return io_error(fmt::format("{}: {}", file, error.message()));
  const std::unique_ptr<llvm::Module> copy = llvm::CloneModule(module);
  return emit(*copy, target, llvm::CodeGenFileType::AssemblyFile, out);
}

/// A module of LLVM's on its way to machine code.
struct MachineModule {
  std::unique_ptr<llvm::TargetMachine> target;
  std::unique_ptr<llvm::LLVMContext> context;
  std::unique_ptr<llvm::Module> code;
};

Result<MachineModule> translate(mlir::ModuleOp module, const Machine& machine, StageTimer& timer) {
  MachineModule result;
  TESSERA_ASSIGN(result.target, createTargetMachine(machine));
  result.context = std::make_unique<llvm::LLVMContext>();
  result.code = mlir::translateModuleToLLVMIR(module, *result.context);
  if (!result.code) return internal_error("translation to LLVM IR failed");
  describeMachine(*result.code, *result.target, machine);
  timer.finish("translate");
  return result;
}

Result<std::vector<char>> generate(MachineModule& module, llvm::CodeGenFileType type,
                                   const std::string& assemblyFile, StageTimer& timer) {
  optimize(*module.code, *module.target);
  timer.finish("optimize");
  if (!assemblyFile.empty()) TESSERA_TRY(writeAssembly(*module.code, *module.target, assemblyFile));
  llvm::SmallVector<char, 0> object;
  llvm::raw_svector_ostream out(object);
  TESSERA_TRY(emit(*module.code, *module.target, type, out));
  timer.finish("codegen");
  return std::vector<char>(object.begin(), object.end());
}

Result<std::vector<char>> compileTo(llvm::CodeGenFileType type, mlir::ModuleOp module,
                                    const Machine& machine, const std::string& assemblyFile,
                                    StageTimer& timer) {
  TESSERA_ASSIGN(MachineModule translated, translate(module, machine, timer));
  return generate(translated, type, assemblyFile, timer);
}

/// Of all that decides a module's code; the name of `entry` does not.
Hash128 hashOf(llvm::Module& module, llvm::StringRef entry) {
  llvm::Function& kernel = *module.getFunction(entry);
  kernel.setName("");
  llvm::SmallVector<char, 0> bitcode;
  llvm::raw_svector_ostream out(bitcode);
  llvm::WriteBitcodeToFile(module, out);
  kernel.setName(entry);
  return hash128(std::string_view(bitcode.data(), bitcode.size()));
}

}  // namespace

Result<std::vector<char>> compileToObject(mlir::ModuleOp module, const Machine& machine,
                                          const std::string& assemblyFile, StageTimer& timer) {
  return compileTo(llvm::CodeGenFileType::ObjectFile, module, machine, assemblyFile, timer);
}

Result<std::vector<char>> compileToAssembly(mlir::ModuleOp module, const Machine& machine,
                                            const std::string& assemblyFile, StageTimer& timer) {
  return compileTo(llvm::CodeGenFileType::AssemblyFile, module, machine, assemblyFile, timer);
}

Result<LinkedCode> compileToSharedObject(mlir::ModuleOp module, llvm::StringRef entry,
                                         const Machine& machine, const std::string& assemblyFile,
                                         CodeMemo* memo, StageTimer& timer) {
  TESSERA_ASSIGN(MachineModule translated, translate(module, machine, timer));
  Hash128 hash;
  if (memo != nullptr) {
    hash = hashOf(*translated.code, entry);
    timer.finish("hash");
    if (const auto twin = memo->find(hash)) return *twin;
  }
  TESSERA_ASSIGN(const std::vector<char> object,
                 generate(translated, llvm::CodeGenFileType::ObjectFile, assemblyFile, timer));
  LinkedCode linked{.entry = entry.str(), .bytes = {}};
  TESSERA_ASSIGN(linked.bytes, linkSharedObject(object, timer));
  if (memo != nullptr) memo->store(hash, linked);
  return linked;
}

}  // namespace tessera::compiler
