// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tessera/ops/frame/testing/sample_operators.h"

namespace tessera::ops {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Tolerance tolerance_for_test;

/// An operator with one output y [4] of any type.
struct Output {
  static Signature signature() {
    std::vector<DType> all;
    for (int i = 0; i < kDTypeCount; ++i) all.push_back(static_cast<DType>(i));
    return {.name = "output",
            .family = "testing",
            .rows = "",
            .summary = "",
            .formula = "",
            .source = "",
            .tensors = {out("y", "T", all)}};
  }
  static void plan(PlanBuilder&) {}
  static void reference(const Reference&) {}
  static std::vector<Case> cases() { return {}; }
  static Tolerance tolerance(const Problem&) { return tolerance_for_test; }
  static Cost cost(const Problem&) { return {}; }
};

Comparison compare(DType dtype, std::vector<double> want, std::vector<double> got,
                   Tolerance tolerance = {}, double magnitude = 0) {
  tolerance_for_test = tolerance;
  const Operator op = make_operator<Output>();
  const auto problem =
      Problem::from_dims(*op.signature, {{"T", static_cast<int64_t>(want.size())}}, {{"y", dtype}})
          .value();
  std::vector<Expected> expected(1, Expected(problem.tensor("y")));
  std::vector<HostTensor> actual(1, HostTensor(problem.tensor("y")));
  for (size_t i = 0; i < want.size(); ++i) {
    expected[0].set_flat(static_cast<int64_t>(i), want[i], magnitude);
    actual[0].set_flat(static_cast<int64_t>(i), got[i]);
  }
  return compare_outputs(op, problem, {}, expected, actual);
}

TEST(StepAt, FollowsTheFormat) {
  EXPECT_EQ(step_at(DType::bf16, 1), 0x1p-7);
  EXPECT_EQ(step_at(DType::bf16, 0), 0x1p-133);
  EXPECT_EQ(step_at(DType::f8e4m3, 448), 32);
  EXPECT_EQ(step_at(DType::f8e4m3, 0.001), 0x1p-9);
  EXPECT_EQ(step_at(DType::f4e2m1, 0.5), 0.5);
  EXPECT_EQ(step_at(DType::f8e8m0, 8), 8);
  EXPECT_EQ(step_at(DType::i32, 8), 1);
}

TEST(Compare, TheFinalRoundingIsFree) {
  const Comparison result = compare(DType::bf16, {1.00390625 * 1.0001, 3}, {1.0078125, 3});
  EXPECT_EQ(result.wrong, "");
  EXPECT_EQ(result.worst, 0);
}

TEST(Compare, NamesTheFirstWrongElement) {
  EXPECT_EQ(compare(DType::f32, {1, 2, 3, 4}, {1, 2.5, 3, 5}, {.absolute = 0.1}).wrong,
            "y[1]: got 2.5, want 2, off by 0.5 where 0.1 is allowed; 2 of 4 elements are wrong");
}

TEST(Compare, AddsUpTheParts) {
  const Tolerance tolerance = {.absolute = 1, .relative = 0.5, .scaled = 0.25};
  const Comparison result = compare(DType::f64, {4}, {4 + 2}, tolerance, 4);  // 1 + 2 + 1 allowed
  EXPECT_EQ(result.wrong, "");
  EXPECT_DOUBLE_EQ(result.worst, 0.5);
  EXPECT_NE(compare(DType::f64, {4}, {4 + 4.1}, tolerance, 4).wrong, "");
}

TEST(Compare, SaturationIsExpected) {
  EXPECT_EQ(compare(DType::f8e4m3, {1e9, -500}, {448, -448}).wrong, "");
  EXPECT_NE(compare(DType::f8e4m3, {1e9}, {416}).wrong, "");
  EXPECT_EQ(compare(DType::f8e4m3, {1e9}, {416}, {.absolute = 20}).wrong, "");
}

TEST(Compare, InfinitiesAndNanMatchExactly) {
  EXPECT_EQ(compare(DType::f32, {kInfinity, -kInfinity, kNan, 1e40},
                    {kInfinity, -kInfinity, kNan, kInfinity})
                .wrong,
            "");
  EXPECT_NE(compare(DType::f32, {kInfinity}, {1e30}, {.relative = 1}).wrong, "");
  EXPECT_NE(compare(DType::f32, {kNan}, {0}, {.absolute = 1}).wrong, "");
  EXPECT_EQ(compare(DType::f32, {0}, {kNan}, {.absolute = 1}).wrong,
            "y[0]: got nan, want 0 (never written?); 1 of 1 elements are wrong");
}

TEST(Compare, IntegersMustBeEqual) {
  EXPECT_EQ(compare(DType::i32, {-1, 7}, {-1, 7}).wrong, "");
  EXPECT_EQ(compare(DType::i32, {5}, {6}, {.absolute = 10}).wrong,
            "y[0]: got 6, want 5; 1 of 1 elements are wrong");
}

TEST(Compare, AShareMayBeOneStepOff) {
  const std::vector<double> want(100, 1.0);
  std::vector<double> got = want;
  got[3] = got[4] = 1.125;
  EXPECT_EQ(compare(DType::f8e4m3, want, got, {.one_step_share = 0.02}).wrong, "");
  got[5] = 0.9375;
  EXPECT_EQ(compare(DType::f8e4m3, want, got, {.one_step_share = 0.02}).wrong,
            "y[3]: got 1.125, want 1; 3 of 100 elements are one step off, 2 may be");
  got[5] = 1.25;
  EXPECT_NE(
      compare(DType::f8e4m3, want, got, {.one_step_share = 0.02}).wrong.find("y[5]: got 1.25"),
      std::string::npos);
}

TEST(Compare, UnsetAndAnyElements) {
  const Operator op = make_operator<Output>();
  const auto problem = Problem::from_dims(*op.signature, {{"T", 2}}, {{"y", DType::f32}}).value();
  std::vector<Expected> expected(1, Expected(problem.tensor("y")));
  const std::vector<HostTensor> actual(1, HostTensor(problem.tensor("y")));
  expected[0].set_any({0});
  EXPECT_EQ(compare_outputs(op, problem, {}, expected, actual).wrong,
            "y[1]: the reference never sets it; 1 of 2 elements are wrong");
  expected[0].set_any({1});
  EXPECT_EQ(compare_outputs(op, problem, {}, expected, actual).wrong, "");
}

struct Checked : Output {
  static std::string check(const Check& c) {
    return c.got("y").at({0}) == 1 ? "" : "y[0] is not 1";
  }
};

TEST(Compare, AnOwnCheckReplacesTheElementwiseOne) {
  const Operator op = make_operator<Checked>();
  const auto problem = Problem::from_dims(*op.signature, {{"T", 2}}, {{"y", DType::f32}}).value();
  const std::vector<Expected> expected(1, Expected(problem.tensor("y")));
  std::vector<HostTensor> actual(1, HostTensor(problem.tensor("y")));
  EXPECT_EQ(compare_outputs(op, problem, {}, expected, actual).wrong, "y[0] is not 1");
  actual[0].set({0}, 1);
  EXPECT_EQ(compare_outputs(op, problem, {}, expected, actual).wrong, "");
}

}  // namespace
}  // namespace tessera::ops
