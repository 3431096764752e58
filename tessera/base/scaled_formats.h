// SPDX-License-Identifier: Apache-2.0
// Elements of block-scaled FP8 with their scale, exact. Those of FP4 are in float_formats.h.
#pragma once

#include <bit>
#include <cstdint>

#include "tessera/base/float_formats.h"

namespace tessera {

/// e4m3 value x e8m0 scale, exact in f32: overflow is infinity, codes 0x7f and 0xff and scale 255
/// are NaN.
constexpr float decode_e4m3_scaled(uint8_t code, uint8_t scale) {
  if (scale == 255 || (code & 0x7f) == 0x7f) return std::bit_cast<float>(0x7fc00000u);
  // A product of a 4-bit significand with a power of two: nothing is rounded, 2^-136 at least.
  return decode_e4m3(code) * decode_e8m0(scale);
}

}  // namespace tessera
