// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "llvm/ADT/StringRef.h"
#include "mlir/Pass/Pass.h"

namespace tessera::compiler::simt {

struct SimtTarget {
  int64_t threads = 128;        // of a workgroup, a power of two
  int64_t sharedBytes = 32768;  // a workgroup may use
};

/// Integer attribute of the module after either pass: bytes of shared memory the kernel needs.
inline constexpr llvm::StringLiteral kSharedBytesAttribute = "tessera.shared_bytes";

/// tile.kernel -> a spirv.module for Vulkan 1.2 with an entry point of the same name.
std::unique_ptr<mlir::Pass> createLowerToSpirvPass(const SimtTarget& target);

/// PTX identifiers have no dots.
std::string ptxName(llvm::StringRef kernel);

/// tile.kernel -> an llvm.func of the name ptxName(kernel) for NVPTX whose body is scf, arith and
/// math on scalars.
std::unique_ptr<mlir::Pass> createLowerToNvvmPass(const SimtTarget& target);

}  // namespace tessera::compiler::simt
