// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/dtype.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(DType, NamesRoundTrip) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType type = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(name(type)), type) << name(type);
  }
  EXPECT_EQ(name(DType::f8e4m3), "f8e4m3");
  EXPECT_EQ(static_cast<int>(DType::f4e2m1), kDTypeCount - 1);
  EXPECT_EQ(parse_dtype("fp32"), std::nullopt);
  EXPECT_EQ(parse_dtype(""), std::nullopt);
}

TEST(DType, Sizes) {
  static_assert(bits(DType::i1) == 8 && bits(DType::f4e2m1) == 4 && bits(DType::f64) == 64);
  EXPECT_EQ(size_in_bytes(DType::i1, 3), 3);
  EXPECT_EQ(size_in_bytes(DType::bf16, 5), 10);
  EXPECT_EQ(size_in_bytes(DType::i64, 2), 16);
  EXPECT_EQ(size_in_bytes(DType::f4e2m1, 0), 0);
  EXPECT_EQ(size_in_bytes(DType::f4e2m1, 1), 1);
  EXPECT_EQ(size_in_bytes(DType::f4e2m1, 6), 3);
  EXPECT_EQ(size_in_bytes(DType::f4e2m1, 7), 4);
}

TEST(DType, Kinds) {
  EXPECT_TRUE(is_float(DType::f8e8m0));
  EXPECT_FALSE(is_signed(DType::f8e8m0));
  EXPECT_TRUE(is_int(DType::u8));
  EXPECT_FALSE(is_signed(DType::u32));
  EXPECT_FALSE(is_signed(DType::i1));
  EXPECT_TRUE(is_signed(DType::i16));
  EXPECT_TRUE(is_signed(DType::f4e2m1));
}

}  // namespace
}  // namespace tessera
