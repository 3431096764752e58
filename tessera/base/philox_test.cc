// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/philox.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

using Words = std::array<uint32_t, 4>;

TEST(Philox, KnownAnswers) {
  // Random123, file kat_vectors, philox4x32 with 10 rounds.
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
            (Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(
      philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
      (Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, BitsTakeTheKeyLowWordFirst) {
  EXPECT_EQ(philox_bits(5, 0x123456789abcdef0),
            philox({5, 0, 0, 0}, {0x9abcdef0u, 0x12345678u})[0]);
}

}  // namespace
}  // namespace tessera
