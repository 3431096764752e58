// SPDX-License-Identifier: Apache-2.0
// Random bits from a counter: the same on every machine, in any order.
#pragma once

#include <array>
#include <cstdint>

namespace tessera {

/// Philox 4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3; 2011).
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xd2511f53u} * c[0], b = uint64_t{0xcd9e8d57u} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9e3779b9u, key[1] + 0xbb67ae85u};
  }
  return c;
}

/// Word 0 for the counter (counter, 0, 0, 0): random_bits of the tile language.
constexpr uint32_t philox_bits(uint32_t counter, uint64_t key) {
  return philox({counter, 0, 0, 0},
                {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)})[0];
}

}  // namespace tessera
