// SPDX-License-Identifier: Apache-2.0
// Products in tile registers (AMX). Rows of weights are the rows of the left operand, as decoding
// leaves them; activations are the columns of the right one, packed in pairs along K. So sums come
// out transposed, [N, M], and stay so in the memory of a carried accumulator.
//
// One instruction takes 16 cycles for up to 16 columns, whatever their number: a few rows of
// activations cost what decoding the weights costs. A column's sums depend on no other column.
#pragma once

#include "tessera/compiler/lowering/cpu/dot_pack.h"

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

/// to [M, N] = the total of the copies [N, M] at `from`, both f32 and 64-byte aligned.
void transposeSums(Emitter& e, mlir::Value from, mlir::Value to, int64_t m, int64_t n);

}  // namespace tessera::compiler::cpu
