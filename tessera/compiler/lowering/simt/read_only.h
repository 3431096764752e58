// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "mlir/IR/Operation.h"

namespace tessera::compiler::simt {

/// Whether this is a load or gather of what no program writes: it may be done by any thread, again,
/// and at another time.
bool isReadOnly(mlir::Operation* op);

}  // namespace tessera::compiler::simt
