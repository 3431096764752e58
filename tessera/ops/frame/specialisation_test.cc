// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/specialisation.h"

#include <gtest/gtest.h>

#include "tessera/ops/frame/prepared.h"
#include "tessera/ops/frame/testing/sample_operators.h"
#include "tessera/runtime/tuning.h"

namespace tessera::ops {
namespace {

struct TunedOp : testing::SampleOp {
  static void plan(PlanBuilder& b) {
    b.kernel("copy", {b.caps().gemv_rows}, {b.tensor("x"), b.tensor("y")},
             [](KernelBuilder&, View, View) {});
  }
};

Problem problem_with(const Operator& op, int64_t rows, double scale = 2) {
  return Problem::from_dims(*op.signature, {{"T", rows}, {"D", 16}},
                            {{"x", DType::f32}, {"y", DType::bf16}}, {{"scale", scale}})
      .value();
}

TEST(Specialisation, NamesWhatKernelsDependOn) {
  const Operator op = make_operator<testing::SampleOp>();
  const auto text = [&](int64_t rows, double scale = 2, bool deterministic = false) {
    return specialisation(op, problem_with(op, rows, scale), {.deterministic = deterministic});
  };
  EXPECT_EQ(text(1), "sample D=16 T<=1 x=f32 y=bf16");
  EXPECT_EQ(text(5), "sample D=16 T<=8 x=f32 y=bf16");
  EXPECT_EQ(text(8), text(2));
  EXPECT_EQ(text(500), "sample D=16 T>64 x=f32 y=bf16");
  EXPECT_EQ(text(1, 3), "sample D=16 T<=1 x=f32 y=bf16 scale=3");
  EXPECT_EQ(text(9), "sample D=16 T<=16 x=f32 y=bf16");
  EXPECT_EQ(text(1, 2, true), text(17, 2, true));
  EXPECT_EQ(text(17, 2, true), "sample D=16 T<=64 x=f32 y=bf16");
}

TEST(Specialisation, PlansTakeTheHintsOfTheirUse) {
  const Operator op = make_operator<TunedOp>();
  runtime::Tuning tuning;
  ASSERT_TRUE(tuning.set("sample D=16 T<=8 x=f32 y=bf16", {{"gemv_rows", 4}}).ok());
  runtime::Capabilities capabilities;
  const auto rows = [&](int64_t tokens) {
    return make_plan(op, problem_with(op, tokens), capabilities).calls[0].grid[0];
  };
  EXPECT_EQ(rows(5), 64);
  capabilities.tuning = &tuning;
  EXPECT_EQ(rows(5), 4);
  EXPECT_EQ(rows(9), 64);
}

}  // namespace
}  // namespace tessera::ops
