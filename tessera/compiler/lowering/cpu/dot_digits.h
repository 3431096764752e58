// SPDX-License-Identifier: Apache-2.0
// One row of e4m3 activations with FP4 weights by byte products (vpdpbusd). An e4m3 number is an
// integer of 18 bits and a sign in units of 2^-9: three signed digits to base 128, so that sums of
// a scale's 32 products are exact integers. A weight doubled is an integer within +-12, and takes
// one lookup of bytes; 12 is added to it, as the instruction wants one operand without a sign.
//
// Six byte products of a line of weights take fewer cycles than four of bf16 pairs where a
// processor's vdpbf16ps is slow.
#pragma once

#include "tessera/compiler/lowering/cpu/dot.h"

namespace tessera::compiler::cpu {

/// Whether the target gains from it and the task, with Accumulator::kPartial, allows it.
bool suitsDigits(const CpuTarget& target, const DotTask& task);

void emitDigits(Emitter& e, DotTask& task);

}  // namespace tessera::compiler::cpu
