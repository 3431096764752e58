// SPDX-License-Identifier: Apache-2.0
// Finds products whose operand a is the same in many calls, and what it depends on (DotReuse).
#pragma once

#include <optional>

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallVector.h"
#include "mlir/IR/Operation.h"

namespace tessera::compiler::cpu {

/// How operand a of a product and its scale come about.
struct DotSource {
  /// Scalars that determine them, besides arguments and read-only memory.
  llvm::SmallSetVector<mlir::Value, 4> leaves;
  /// Operations nothing else needs, in the product's block, in order.
  llvm::SmallVector<mlir::Operation*> own;
};

/// None where a depends on something else: a carried tile, a view the kernel writes.
std::optional<DotSource> sourceOfA(mlir::Operation* product);

}  // namespace tessera::compiler::cpu
