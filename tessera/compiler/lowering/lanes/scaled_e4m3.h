// SPDX-License-Identifier: Apache-2.0
// bf16 numbers times a power of two, rounded once to e4m3, in lanes of 16 bits: nothing is widened,
// and f16 need not be rounded to odd.
#pragma once

#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler {

/// Exponent fields of the scales it takes: 2^-126 to 2^112.
constexpr int64_t kLeastScaleExponent = 1, kMostScaleExponent = 239;

bool canScaleE4m3(const CpuTarget& target, int64_t lanes);

/// `numbers` are bf16, `scale` is the bits of an f32 as i32, for each lane or one for all. The code
/// is that of convert() of the exact product.
mlir::Value encodeScaledE4m3(Emitter& e, mlir::Value numbers, mlir::Value scale);

}  // namespace tessera::compiler
