// SPDX-License-Identifier: Apache-2.0
// What the compiler's output looks like to the cpu chip: out[i] = a * in[i] + program id.
// Slots: out, in, a (i64), elements a program.
using Signed = long;
using Slot = unsigned long;

extern "C" void scale_add(const Slot* slots, const unsigned* grid, Signed begin, Signed end) {
  auto* out = reinterpret_cast<Signed*>(slots[0]);
  const auto* in = reinterpret_cast<const Signed*>(slots[1]);
  const auto a = static_cast<Signed>(slots[2]), count = static_cast<Signed>(slots[3]);
  (void)grid;
  for (Signed program = begin; program < end; ++program)
    for (Signed i = program * count; i < (program + 1) * count; ++i) out[i] = a * in[i] + program;
}
