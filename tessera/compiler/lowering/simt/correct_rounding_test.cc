// SPDX-License-Identifier: Apache-2.0
// The code runs by constant folding: every operation of constants is a constant.
#include "tessera/compiler/lowering/simt/correct_rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Matchers.h"

namespace tessera::compiler::simt {
namespace {

using mlir::Value;

float valueOf(Value value) {
  llvm::APFloat number(0.0f);
  EXPECT_TRUE(mlir::matchPattern(value, mlir::m_ConstantFloat(&number)));
  return number.convertToFloat();
}

float moved(float x, int units) { return std::bit_cast<float>(std::bit_cast<int32_t>(x) + units); }

/// x and so many units in its last place.
float off(float x, int units) {
  return units == 0 ? x : x + static_cast<float>(units) * (moved(x, 1) - x);
}

class CorrectRoundingTest : public ::testing::Test {
 protected:
  CorrectRoundingTest() : builder_(&context_) {
    context_.loadDialect<mlir::arith::ArithDialect, mlir::math::MathDialect>();
  }
  /// What the code for one number gives, in a block of its own.
  template <class Code>
  float run(const Code& code) {
    mlir::Block block;
    builder_.setInsertionPointToStart(&block);
    Emitter e(builder_, builder_.getUnknownLoc(), target_, &block);
    return valueOf(code(e));
  }
  float quotient(float a, float b, int units) {
    return run([&](Emitter& e) {
      return roundedQuotient(e, e.f32(a), e.f32(b), [&](Value x, Value y) {
        return e.f32(off(valueOf(x) / valueOf(y), units));
      });
    });
  }
  float root(float x, int units) {
    return run([&](Emitter& e) {
      return roundedRoot(e, e.f32(x),
                         [&](Value m) { return e.f32(off(std::sqrt(valueOf(m)), units)); });
    });
  }
  /// A normal number whose exponent is within `range` of one's.
  float random(int range) {
    const uint32_t exponent =
        static_cast<uint32_t>(127 + std::uniform_int_distribution(-range, range)(numbers_));
    return std::bit_cast<float>(static_cast<uint32_t>(numbers_()) % (1u << 23) | exponent << 23);
  }

  mlir::MLIRContext context_;
  mlir::OpBuilder builder_;
  const CpuTarget target_ = {.lanes = 1, .hasFma = true};
  std::mt19937 numbers_{7};
};

TEST_F(CorrectRoundingTest, QuotientsOfApproximations) {
  for (int i = 0; i < 4000; ++i) {
    const float a = random(40) * (i % 3 ? 1.0f : -1.0f), b = random(40);
    const int units = i % 7 - 3;
    ASSERT_EQ(quotient(a, b, units), a / b) << a << " / " << b << ", off by " << units;
  }
}

TEST_F(CorrectRoundingTest, QuotientsNextToPowersOfTwo) {
  for (int d = -3; d <= 3; ++d)
    for (int units = -3; units <= 3; ++units)
      for (float b : {1.0f, 1.5f, moved(2.0f, -1), 3.0f}) {
        const float a = moved(b, d);
        ASSERT_EQ(quotient(a, b, units), a / b) << a << " / " << b << ", off by " << units;
      }
}

TEST_F(CorrectRoundingTest, LargestAndSmallestNormalQuotients) {
  for (const auto& [a, b] : {std::pair(0x1.fffffep127f, 1.0f), std::pair(0x1p-126f, 1.0f),
                             std::pair(0x1.fffffep0f, 0x1p126f), std::pair(0x1p127f, -0x1p1f)})
    EXPECT_EQ(quotient(a, b, 2), a / b) << a << " / " << b;
}

TEST_F(CorrectRoundingTest, OtherQuotientsAreTheChips) {
  const float inf = INFINITY;
  EXPECT_EQ(quotient(1.0f, 0.0f, 0), inf);
  EXPECT_EQ(quotient(-1.0f, inf, 0), 0.0f);
  EXPECT_EQ(quotient(0x1p127f, 0x1p-126f, 0), inf);
  EXPECT_EQ(quotient(0x1p-126f, 8.0f, 0), 0x1p-129f);
  EXPECT_TRUE(std::isnan(quotient(NAN, 2.0f, 0)));
  EXPECT_TRUE(std::isnan(quotient(0.0f, 0.0f, 0)));
}

TEST_F(CorrectRoundingTest, Roots) {
  for (int i = 0; i < 4000; ++i) {
    const float x = random(120);
    const int units = i % 7 - 3;
    ASSERT_EQ(root(x, units), std::sqrt(x)) << x << ", off by " << units;
  }
  for (int d = -3; d <= 3; ++d)
    for (int units = -3; units <= 3; ++units)
      for (float x : {1.0f, 4.0f, 9.0f, 0x1p40f})
        ASSERT_EQ(root(moved(x, d), units), std::sqrt(moved(x, d))) << x << " and " << d;
  EXPECT_EQ(root(0.0f, 0), 0.0f);
  EXPECT_EQ(root(INFINITY, 0), INFINITY);
  EXPECT_TRUE(std::isnan(root(-1.0f, 0)));
}

}  // namespace
}  // namespace tessera::compiler::simt
