// SPDX-License-Identifier: Apache-2.0
// Operands and accumulators of matrix products; the products themselves are behind emitDot().
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/dot.h"
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"

namespace tessera::compiler::cpu {
void lowerDot(KernelLowering&, tile::DotOp) { TESSERA_UNREACHABLE("dot"); }
void lowerDotScaled(KernelLowering&, tile::DotScaledOp) { TESSERA_UNREACHABLE("dot"); }
}  // namespace tessera::compiler::cpu
