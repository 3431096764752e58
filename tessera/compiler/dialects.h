// SPDX-License-Identifier: Apache-2.0
// Every dialect the pipeline uses, registered once for the process.
#pragma once

#include "mlir/IR/DialectRegistry.h"

namespace tessera::compiler {

const mlir::DialectRegistry& dialects();

}  // namespace tessera::compiler
