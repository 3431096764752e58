// SPDX-License-Identifier: Apache-2.0
// Products element by element: slow, right for every shape and scale. Used for what the other
// kernels leave out.
#pragma once

#include "tessera/compiler/lowering/cpu/dot_pack.h"

namespace tessera::compiler::cpu {

/// Adds a . b to the task's accumulator of either layout (in kPartial, to lane 0).
/// With `decoder`, operand a was packed as `packed`; otherwise it is as the task says.
void emitElements(Emitter& e, const DotTask& task, const Decoder* decoder, const DotRows* packed);

}  // namespace tessera::compiler::cpu
