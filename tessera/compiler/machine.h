// SPDX-License-Identifier: Apache-2.0
// The back half of compilation: an MLIR module of the llvm dialect to machine code, by way of
// LLVM's optimiser, a TargetMachine and lld. Thread-safe; every call has its own LLVM context.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "mlir/IR/BuiltinOps.h"
#include "tessera/base/result.h"
#include "tessera/compiler/code_memo.h"
#include "tessera/compiler/stage_timer.h"

namespace tessera::compiler {

/// An LLVM target.
struct Machine {
  std::string triple;    // "x86_64-unknown-linux-gnu"
  std::string cpu;       // "x86-64-v3"
  std::string features;  // "+avx512bf16,+avx512vnni"
  int vectorBits = 128;  // widest registers worth using
};

/// Object code of the module. `assemblyFile`: also written there unless empty.
Result<std::vector<char>> compileToObject(mlir::ModuleOp module, const Machine& machine,
                                          const std::string& assemblyFile, StageTimer& timer);

/// The same as the target's assembly: for NVPTX, where it is what the driver takes.
Result<std::vector<char>> compileToAssembly(mlir::ModuleOp module, const Machine& machine,
                                            const std::string& assemblyFile, StageTimer& timer);

/// A shared object that needs nothing but memcpy, memmove and memset; anything else it calls is a
/// bug of the lowering and reported as `internal` with the symbol's name.
Result<std::vector<std::byte>> linkSharedObject(const std::vector<char>& object, StageTimer& timer);

/// Both of these for a module whose kernel is the function `entry`. `memo`, unless null: its code
/// is used where it has that of an equal module (then nothing is written to `assemblyFile`), and
/// keeps what is made.
Result<LinkedCode> compileToSharedObject(mlir::ModuleOp module, llvm::StringRef entry,
                                         const Machine& machine, const std::string& assemblyFile,
                                         CodeMemo* memo, StageTimer& timer);

}  // namespace tessera::compiler
