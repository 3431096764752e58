// SPDX-License-Identifier: Apache-2.0
// A step of a Hadamard or Fourier transform: concat(even + odd, even - odd) of the two halves of a
// split. Where these lie in two lanes each keeps one result: the other's element plus or minus its
// own.
#pragma once

#include <optional>

#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/layout.h"

namespace tessera::compiler::simt {

struct Butterfly {
  tile::SplitOp split;
  tile::ConcatOp concat;
};

/// The step that an operation is one of the four of, if nothing else reads what lies between.
std::optional<Butterfly> butterflyOf(mlir::Operation* op);

/// From the tile that is split to the one that is put together: the lowest bit of the last
/// dimension becomes its highest.
struct Rotated {  // for Layout::renamed
  int bits;       // of the last dimension
  int operator()(int bit) const { return bit >= bits ? bit : (bit + bits - 1) % bits; }
};

}  // namespace tessera::compiler::simt
