// SPDX-License-Identifier: Apache-2.0
// A product that a loop adds to one of the tiles it carries.
#pragma once

#include <cstddef>
#include <optional>

#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler::simt {

/// a [M, K], b [N, K] and their scales, null where there are none; the sum is f32.
struct CarriedProduct {
  mlir::Operation* dot = nullptr;
  mlir::Value a, b, aScale, bScale;
};

/// What the loop yields as its carried tile of this number, if it is the tile and such a product.
std::optional<CarriedProduct> carriedProduct(tile::ForOp loop, size_t carried);

}  // namespace tessera::compiler::simt
