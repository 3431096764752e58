// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "mlir/Pass/Pass.h"
#include "tessera/compiler/lowering/lanes/cpu_target.h"

namespace tessera::compiler::cpu {

/// tile.kernel -> an llvm.func of the same name over (slots, grid, begin, end) whose body is scf,
/// arith, math, 1-D vectors and llvm loads and stores.
std::unique_ptr<mlir::Pass> createLowerTilePass(const CpuTarget& target);

}  // namespace tessera::compiler::cpu
