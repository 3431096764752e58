// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/element.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/base/float_formats.h"

namespace tessera {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Stores element by element, with known bytes around, and reads back.
TEST(Element, EveryTypeRoundTripsWithoutTouchingNeighbours) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = static_cast<DType>(i);
    SCOPED_TRACE(name(type));
    std::array<uint8_t, 80> bytes;
    for (int64_t index = 0; index < 7; ++index) {
      bytes.fill(0xa5);
      auto expected = bytes;
      const double before = load_as_double(type, bytes.data() + 1, index ^ 1);  // unaligned base
      store_from_double(type, bytes.data() + 1, index, 1.0);
      EXPECT_EQ(load_as_double(type, bytes.data() + 1, index), 1.0);
      EXPECT_EQ(load_as_float(type, bytes.data() + 1, index), 1.0f);
      const double after = load_as_double(type, bytes.data() + 1, index ^ 1);
      EXPECT_EQ(std::memcmp(&before, &after, sizeof(before)), 0);
      const int64_t first = 1 + index * bits(type) / 8;
      const int64_t count = std::max(1, bits(type) / 8);
      for (int64_t at = first; at < first + count; ++at) expected[at] = bytes[at];
      EXPECT_EQ(bytes, expected);
    }
  }
}

TEST(Element, PackedFp4LowNibbleIsTheEvenElement) {
  std::array<uint8_t, 2> bytes = {0, 0};
  store_from_double(DType::f4e2m1, bytes.data(), 0, 6.0);
  store_from_double(DType::f4e2m1, bytes.data(), 3, -0.5);
  EXPECT_EQ(bytes[0], 0x07);
  EXPECT_EQ(bytes[1], 0x90);
  EXPECT_EQ(load_as_float(DType::f4e2m1, bytes.data(), 3), -0.5f);
}

TEST(Element, IntegerStoresTruncateAndSaturate) {
  std::array<uint8_t, 8> bytes{};
  const auto stored = [&](DType type, double value) {
    store_from_double(type, bytes.data(), 0, value);
    return load_as_int(type, bytes.data(), 0);
  };
  EXPECT_EQ(stored(DType::i8, -1.9), -1);
  EXPECT_EQ(stored(DType::i8, 200), 127);
  EXPECT_EQ(stored(DType::i8, -200), -128);
  EXPECT_EQ(stored(DType::u8, -3), 0);
  EXPECT_EQ(stored(DType::u8, 255.9), 255);
  EXPECT_EQ(stored(DType::u32, 4294967295.0), 4294967295);
  EXPECT_EQ(stored(DType::u32, 1e20), 4294967295);
  EXPECT_EQ(stored(DType::i64, 1e30), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(stored(DType::i64, -0x1p63), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(stored(DType::i32, kNaN), 0);
  EXPECT_EQ(stored(DType::i1, 0.25), 1);
  EXPECT_EQ(stored(DType::i1, -0.0), 0);
  EXPECT_EQ(stored(DType::i1, kNaN), 0);
}

TEST(Element, StoreFromIntRoundsOnce) {
  std::array<uint8_t, 8> bytes{};
  // 2^60 + 2^36 + 1 lies just above the tie between two f32 values; as a double it would be the
  // tie.
  const int64_t value = (int64_t{1} << 60) + (int64_t{1} << 36) + 1;
  store_from_int(DType::f32, bytes.data(), 0, value);
  EXPECT_EQ(load_as_float(DType::f32, bytes.data(), 0), 0x1p60f + 0x1p37f);
  store_from_int(DType::f32, bytes.data(), 0, -value);
  EXPECT_EQ(load_as_float(DType::f32, bytes.data(), 0), -(0x1p60f + 0x1p37f));
  store_from_int(DType::i64, bytes.data(), 0, value);
  EXPECT_EQ(load_as_float(DType::i64, bytes.data(), 0), 0x1p60f + 0x1p37f);
  store_from_int(DType::u8, bytes.data(), 0, 0x1ff);
  EXPECT_EQ(load_as_int(DType::u8, bytes.data(), 0), 0xff);
  store_from_int(DType::f32, bytes.data(), 0, std::numeric_limits<int64_t>::min());
  EXPECT_EQ(load_as_float(DType::f32, bytes.data(), 0), -0x1p63f);
  store_from_int(DType::f8e4m3, bytes.data(), 0, 500);
  EXPECT_EQ(load_as_float(DType::f8e4m3, bytes.data(), 0), 448.0f);
}

TEST(Element, FloatStoresRoundOnceFromDouble) {
  std::array<uint8_t, 8> bytes{};
  store_from_double(DType::bf16, bytes.data(), 0, 1.0 + 0x1p-8 + 0x1p-40);
  EXPECT_EQ(load_as_double(DType::bf16, bytes.data(), 0), 1.0 + 0x1p-7);
  store_from_double(DType::f8e8m0, bytes.data(), 0, 3.0);  // half way: the even code, 128
  EXPECT_EQ(load_as_double(DType::f8e8m0, bytes.data(), 0), 2.0);
  store_from_double(DType::f8e8m0, bytes.data(), 0, 3.0 + 0x1p-40);
  EXPECT_EQ(load_as_double(DType::f8e8m0, bytes.data(), 0), 4.0);
  store_from_double(DType::f64, bytes.data(), 0, 0.1);
  EXPECT_EQ(load_as_double(DType::f64, bytes.data(), 0), 0.1);
  EXPECT_EQ(load_as_float(DType::f64, bytes.data(), 0), 0.1f);
}

}  // namespace
}  // namespace tessera
