// SPDX-License-Identifier: Apache-2.0
// Products whose operand b is [K, N], such as probabilities times values: N across lanes, elements
// of a broadcast.
#pragma once

#include "tessera/compiler/lowering/cpu/dot.h"

namespace tessera::compiler::cpu {

/// Adds a . b to the task's accumulator, which is in plain layout.
void emitOuter(Emitter& e, const DotTask& task);

}  // namespace tessera::compiler::cpu
