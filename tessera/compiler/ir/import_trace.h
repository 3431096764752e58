// SPDX-License-Identifier: Apache-2.0
// The way from a recorded kernel into MLIR.
#pragma once

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "tessera/lang/trace.h"

namespace tessera::compiler::tile {

/// A module with one tile.kernel named like the trace. Locations are the author's lines where the
/// trace kept them. The trace is well formed (traced, or parsed and checked).
mlir::OwningOpRef<mlir::ModuleOp> importTrace(mlir::MLIRContext& context, const lang::Trace& trace);

}  // namespace tessera::compiler::tile
