// SPDX-License-Identifier: Apache-2.0
// Products of tasks in tile registers (tile_products.h). Rows of weights are the rows of the tiles,
// as decoding leaves them; activations are the columns. So sums come out transposed, [N, M], and
// stay so in the memory of a carried accumulator. A few rows of activations cost what decoding the
// weights costs.
#pragma once

#include "tessera/compiler/lowering/cpu/tile_products.h"

namespace tessera::compiler::cpu {

/// Whether the target has tile registers and the task's shapes and dtypes suit them; no addresses
/// are looked at.
bool suitsTiles(const CpuTarget& target, const DotTask& task);

/// Sets the shapes of the tile registers at the function's entry. False: they were set for a task
/// of other shapes before.
bool configureTiles(Emitter& e, const DotTask& task);

/// The product of a task with Accumulator::kTransposed, after configureTiles().
void emitTiles(Emitter& e, DotTask& task, Decoder& decoder);

/// How many sums [N, M], one behind the other, an accumulator of these products consists of.
int64_t transposedCopies(int64_t m, int64_t n);

/// A product whose sums are [M, N] before and after, of either layout of b; false where the target
/// or the task do not suit, and nothing was emitted.
bool emitPlainTiles(Emitter& e, const DotTask& task);

}  // namespace tessera::compiler::cpu
