// SPDX-License-Identifier: Apache-2.0
// The way of a kernel through the compiler, as one list of stages.
#pragma once

#include "tessera/base/result.h"
#include "tessera/compiler/lowering/lanes/cpu_target.h"
#include "tessera/compiler/lowering/simt/passes.h"
#include "tessera/compiler/machine.h"
#include "tessera/compiler/stage_timer.h"
#include "tessera/compiler/target.h"

namespace tessera::compiler {

/// A CPU of LLVM's that kernels are compiled for.
struct CpuMachine {
  std::string format;  // of the image: "elf.x86-64"
  Machine machine;
  CpuTarget target;
  std::vector<std::string> requiredFeatures;  // DeviceInfo::features the code relies on
};

/// trace -> tile dialect -> vectors -> LLVM -> shared object. Thread-safe.
Result<runtime::KernelImage> compileForCpu(const lang::Trace& trace, const CpuMachine& machine,
                                           const CompileOptions& options);

/// A GPU that kernels are compiled for.
struct SimtMachine {
  Machine machine;  // of LLVM's; unused for SPIR-V
  simt::SimtTarget target;
  std::vector<std::string> requiredFeatures;
};

/// trace -> tile dialect -> one thread's code -> SPIR-V for Vulkan, or PTX. Thread-safe.
Result<runtime::KernelImage> compileForVulkan(const lang::Trace& trace, const SimtMachine& machine,
                                              const CompileOptions& options);
Result<runtime::KernelImage> compileForNvidia(const lang::Trace& trace, const SimtMachine& machine,
                                              const CompileOptions& options);

}  // namespace tessera::compiler
