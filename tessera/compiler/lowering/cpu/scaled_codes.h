// SPDX-License-Identifier: Apache-2.0
// bf16 numbers times a power of two as e4m3: what quantising with a scale of one exponent does.
#pragma once

#include <optional>

#include "llvm/ADT/STLFunctionalExtras.h"
#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::cpu {

struct ScaledCodes {
  mlir::Value numbers;  // bf16, in whatever shape
  mlir::Value scale;    // f32, stretched to the shape of the codes; see encodeScaledE4m3()
};

/// Recognises cast(numbers as f32 * stretched scale), e4m3, where the scale is proven to be one
/// that encodeScaledE4m3() takes. `isStored`: the tile lies in memory, what it is made of may not
/// exist any more.
std::optional<ScaledCodes> scaledCodesOf(tile::CastOp codes,
                                         llvm::function_ref<bool(mlir::Value)> isStored);

}  // namespace tessera::compiler::cpu
