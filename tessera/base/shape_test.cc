// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/shape.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Shape, Basics) {
  const Shape shape = {2, 3, 7168};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.numel(), 2 * 3 * 7168);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 7168);
  EXPECT_EQ(shape.to_string(), "[2, 3, 7168]");
  EXPECT_EQ(shape.dense_strides()[0], 3 * 7168);
  EXPECT_EQ(shape.dense_strides()[2], 1);
}

TEST(Shape, ScalarAndEmpty) {
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_EQ(Shape{}.to_string(), "[]");
  EXPECT_EQ((Shape{4, 0}).numel(), 0);
}

TEST(Shape, EqualityComparesRankToo) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 0}));
  EXPECT_NE(Shape{}, (Shape{0}));
}

TEST(Shape, ExtentsBeyond32Bits) { EXPECT_EQ((Shape{1 << 20, 1 << 20}).numel(), int64_t{1} << 40); }

TEST(ShapeDeathTest, Misuse) {
  EXPECT_DEATH((Shape{1, 2, 3, 4, 5}), "rank 5 is above 4");
  EXPECT_DEATH((Shape{1, -2}), "extent 1 is negative: -2");
  EXPECT_DEATH((void)(Shape{1})[1], "dimension 1 of a shape of rank 1");
}

}  // namespace
}  // namespace tessera
