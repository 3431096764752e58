// SPDX-License-Identifier: Apache-2.0
// Passes that every lowering shares.
#pragma once

#include <memory>

#include "mlir/Pass/Pass.h"
#include "tessera/compiler/passes/consumers.h"

namespace tessera::compiler {

/// Marks with `tile.root` the operations whose result is stored once and read back, instead of
/// being evaluated inside each of its consumers. See mark_roots.cc for the rules.
std::unique_ptr<mlir::Pass> createMarkRootsPass();

/// arith, math, vector (1-D), cf -> llvm, in one conversion.
std::unique_ptr<mlir::Pass> createConvertToLlvmPass();

}  // namespace tessera::compiler
