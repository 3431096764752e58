// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "llvm/ADT/StringRef.h"
#include "mlir/Pass/Pass.h"
#include "tessera/compiler/lowering/lanes/cpu_target.h"

namespace tessera::compiler::simt {

/// What multiplies tiles.
enum class MatrixUnit : uint8_t {
  kNone,         // FMA
  kMma,          // sm_80: mma.sync, for products of few rows
  kWgmma,        // sm_90a: these, and wgmma
  kCooperative,  // Vulkan: bf16 matrices of 16 x 16 x 16 that 32 lanes hold together
};

struct SimtTarget {
  int64_t threads = 128;           // of a workgroup at most, a power of two
  int laneBits = 0;                // 2^this threads exchange registers; 0: only through memory
  int64_t sharedBytes = 32768;     // a workgroup may use
  int64_t widestBytes = 16;        // of one access to global memory
  bool choosesByStrides = false;   // strides are tested with the bases, before the kernel runs
  bool multipliesInLanes = false;  // products of tiles exchange rows between lanes (lane_product.h)
  MatrixUnit matrix = MatrixUnit::kNone;
  CpuTarget arithmetic = {.lanes = 1, .hasFma = true};
};

/// Integer attribute of the module after either pass: bytes of shared memory the kernel needs.
inline constexpr llvm::StringLiteral kSharedBytesAttribute = "tessera.shared_bytes";
/// And the threads of a workgroup.
inline constexpr llvm::StringLiteral kThreadsAttribute = "tessera.threads";

/// tile.kernel -> a spirv.module for Vulkan 1.2, or 1.3 where it has cooperative matrices, with an
/// entry point of the same name.
std::unique_ptr<mlir::Pass> createLowerToSpirvPass(const SimtTarget& target);

/// PTX identifiers have no dots.
std::string ptxName(llvm::StringRef kernel);

/// tile.kernel -> an llvm.func of the name ptxName(kernel) for NVPTX whose body is scf, arith and
/// math on scalars.
std::unique_ptr<mlir::Pass> createLowerToNvvmPass(const SimtTarget& target);

}  // namespace tessera::compiler::simt
