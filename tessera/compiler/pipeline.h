// SPDX-License-Identifier: Apache-2.0
// The way of a kernel through the compiler, as one list of stages.
#pragma once

#include "tessera/base/result.h"
#include "tessera/compiler/lowering/cpu/cpu_target.h"
#include "tessera/compiler/machine.h"
#include "tessera/compiler/stage_timer.h"
#include "tessera/compiler/target.h"

namespace tessera::compiler {

/// A CPU of LLVM's that kernels are compiled for.
struct CpuMachine {
  std::string format;  // of the image: "elf.x86-64"
  Machine machine;
  cpu::CpuTarget target;
  std::vector<std::string> requiredFeatures;  // DeviceInfo::features the code relies on
};

/// trace -> tile dialect -> vectors -> LLVM -> shared object. Thread-safe. `stages`, if given,
/// receives the milliseconds of each stage.
Result<runtime::KernelImage> compileForCpu(const lang::Trace& trace, const CpuMachine& machine,
                                           const CompileOptions& options, StageTimer* stages = nullptr);

}  // namespace tessera::compiler
