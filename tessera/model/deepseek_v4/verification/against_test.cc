// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/against.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tessera::model::deepseek_v4 {
namespace {

OutputDifference compared(DType dtype, const auto& actual, const auto& expected) {
  OutputDifference difference;
  difference.dtype = dtype;
  add_elements(difference, std::as_bytes(std::span(actual)), std::as_bytes(std::span(expected)));
  return difference;
}

TEST(AgainstTest, EqualTensorsDoNotDepart) {
  const std::vector<float> values = {1, -2, 0, std::numeric_limits<float>::quiet_NaN(),
                                     -std::numeric_limits<float>::infinity()};
  const auto difference = compared(DType::f32, values, values);
  EXPECT_EQ(difference.elements, 3);  // neither the zero nor the NaN of both
  EXPECT_EQ(difference.different, 0);
  EXPECT_EQ(difference.error(), 0);
  EXPECT_FALSE(difference.departs());
}

TEST(AgainstTest, F32DepartsByItsError) {
  EXPECT_FALSE(
      compared(DType::f32, std::vector{1.00001F, 2.0F}, std::vector{1.0F, 2.0F}).departs());
  EXPECT_TRUE(compared(DType::f32, std::vector{1.0001F, 2.0F}, std::vector{1.0F, 2.0F}).departs());
  const auto nan = compared(DType::f32, std::vector{std::nanf(""), 2.0F}, std::vector{1.0F, 2.0F});
  EXPECT_EQ(nan.error(), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(nan.departs());
  EXPECT_TRUE(compared(DType::f32, std::vector{1.0F}, std::vector{0.0F}).departs());
}

TEST(AgainstTest, CodesDepartByTheShareThatDiffers) {
  std::vector<uint16_t> expected(100, 0x3f80), actual = expected;
  actual[7] = 0x3f81;
  EXPECT_DOUBLE_EQ(compared(DType::bf16, actual, expected).share(), 0.01);
  EXPECT_FALSE(compared(DType::bf16, actual, expected).departs());
  for (size_t i = 10; i < 13; ++i) actual[i] = 0x3f7f;
  EXPECT_TRUE(compared(DType::bf16, actual, expected).departs());
}

TEST(AgainstTest, PackedFp4IsReadByHalfBytes) {
  const auto difference =
      compared(DType::f4e2m1, std::vector<uint8_t>{0x21, 0x43}, std::vector<uint8_t>{0x21, 0x53});
  EXPECT_EQ(difference.elements, 4);
  EXPECT_EQ(difference.different, 1);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
