// SPDX-License-Identifier: Apache-2.0
// Who evaluates a tile, looking through operations that are evaluated inside their own consumers.
#pragma once

#include "llvm/ADT/SmallPtrSet.h"
#include "mlir/IR/Operation.h"
#include "tessera/lang/opcode.h"

namespace tessera::compiler {

/// Marks operations whose result is stored; set by the pass mark_roots.
inline constexpr const char* kRootAttribute = "tile.root";

using Consumers = llvm::SmallPtrSet<mlir::Operation*, 4>;

/// Can be evaluated at single points: elementwise, shape changes, loads, constants.
bool isPointwise(lang::Opcode op);

/// Rough cycles that one element of the result takes, without its operands.
int64_t costOf(mlir::Operation* op);

/// The stores, reductions, products, loops, yields and roots that read `tile`. Right once users are
/// marked as roots.
Consumers consumersOf(mlir::Value tile);

}  // namespace tessera::compiler
