// SPDX-License-Identifier: Apache-2.0
// Products with few rows of activations (at most eight): weights are decoded in registers, each
// byte once, and multiplied at once. What limits these is memory, so rows are walked in order, one
// or a few at a time, with a prefetch for every line.
#pragma once

#include "tessera/compiler/lowering/cpu/dot_pack.h"

namespace tessera::compiler::cpu {

/// Whether emitFewRows() handles the scales of operand b with this decoder.
bool fewRowsTakes(const DotTask& task, const Decoder& decoder);

/// Adds a . b to the task's accumulator of either layout. `a` is in the order of `decoder`.
void emitFewRows(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a);

/// Whether an e8m0 scale of the task's rows [row, row + rows) of b lies outside [low, high] (i1).
mlir::Value scalesOutside(Emitter& e, const DotTask& task, mlir::Value row, int64_t rows, int low,
                          int high);

}  // namespace tessera::compiler::cpu
