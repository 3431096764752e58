// SPDX-License-Identifier: Apache-2.0
// The code runs by constant folding: every operation of constants is a constant.
#include "tessera/compiler/lowering/simt/without_calls.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"

namespace tessera::compiler::simt {
namespace {

using mlir::Value;

constexpr int64_t kMost = INT64_MAX / 2;

class WideQuotientTest : public ::testing::Test {
 protected:
  WideQuotientTest() : builder_(&context_) {
    context_.loadDialect<mlir::arith::ArithDialect, mlir::math::MathDialect>();
  }
  /// With a reciprocal that is off by `error` of itself.
  int64_t quotient(int64_t a, int64_t b, double error) {
    mlir::Block block;
    builder_.setInsertionPointToStart(&block);
    Emitter e(builder_, builder_.getUnknownLoc(), target_, &block);
    const Value result = wideQuotient(e, e.i64(a), e.i64(b), [&](Value x) {
      llvm::APFloat number(0.0);
      EXPECT_TRUE(mlir::matchPattern(x, mlir::m_ConstantFloat(&number)));
      return e.constant(builder_.getF64Type(), (1 + error) / number.convertToDouble());
    });
    llvm::APInt number;
    EXPECT_TRUE(mlir::matchPattern(result, mlir::m_ConstantInt(&number)));
    return number.getSExtValue();
  }

  mlir::MLIRContext context_;
  mlir::OpBuilder builder_;
  const CpuTarget target_ = {.lanes = 1, .hasFma = false};  // a fused one is no constant
  std::mt19937_64 numbers_{7};
};

TEST_F(WideQuotientTest, RandomNumbers) {
  for (int i = 0; i < 4000; ++i) {
    const int64_t a = static_cast<int64_t>(numbers_() >> 2 >> i % 62);
    const int64_t b = static_cast<int64_t>(numbers_() >> 11 >> i % 53) | 1;
    const double error = (i % 3 - 1) * 0x1p-19;
    ASSERT_EQ(quotient(a, b, error), a / b) << a << " / " << b << ", off by " << error;
  }
}

TEST_F(WideQuotientTest, NumbersNextToMultiples) {
  for (const int64_t b :
       {int64_t{1}, int64_t{3}, int64_t{65'535}, (int64_t{1} << 33) + 1, (int64_t{1} << 53) - 1})
    for (const int64_t times : {int64_t{1}, int64_t{1'000}, kMost / b - 1})
      for (int64_t d = -1; d <= 1; ++d)
        for (const double error : {-0x1p-19, 0.0, 0x1p-19}) {
          const int64_t a = b * times + d;
          ASSERT_EQ(quotient(a, b, error), a / b) << a << " / " << b << ", off by " << error;
        }
  EXPECT_EQ(quotient(kMost, 1, 0x1p-19), kMost);
  EXPECT_EQ(quotient(0, 7, 0), 0);
}

}  // namespace
}  // namespace tessera::compiler::simt
