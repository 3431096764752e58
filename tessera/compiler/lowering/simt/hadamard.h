// SPDX-License-Identifier: Apache-2.0
// A whole Hadamard transform of rows of bf16 numbers: a butterfly for each bit of a row. Four of
// its bits are one product with a matrix of 1 and -1 (mma.sync: products are exact, sums are f32),
// whose sums lie where the numbers lay; the others are additions in registers.
#pragma once

#include <optional>

#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/simt/layout.h"

namespace tessera::compiler::simt {

struct Hadamard {
  tile::CastOp numbers;  // from bf16
  tile::ConcatOp last;
  int bits;  // of a row
};

/// The transform that an operation belongs to, from the cast to its last step, if nothing else
/// reads what lies between.
std::optional<Hadamard> hadamardOf(mlir::Operation* op);

/// Four lanes have a row, two bits of it; the others stand in registers, pairs of numbers in words.
Layout hadamardLayout(const lang::TileShape& shape, int threadBits);
/// log2 of the threads that hold a tile so.
int hadamardThreadBits(const lang::TileShape& shape);

}  // namespace tessera::compiler::simt
