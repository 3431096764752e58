// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "mlir/Pass/Pass.h"
#include "tessera/compiler/lowering/simt/passes.h"

namespace tessera::compiler::simt {

/// Products of few rows, summed up over a loop, as sums of elementwise products: threads share K,
/// each keeps partial sums, and one reduction after the loop adds them up. What such a product
/// reads it reads once, so that staging it for matrix instructions or register tiles gains nothing.
/// A thread reads `target.widestBytes` of the narrower operand at once. Loops that the target's
/// matrix instructions take are left alone.
std::unique_ptr<mlir::Pass> createRowProductsPass(const SimtTarget& target = {});

}  // namespace tessera::compiler::simt
