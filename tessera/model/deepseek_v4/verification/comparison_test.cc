// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tessera::model::deepseek_v4 {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Comparison, ArgmaxTakesTheLowestOfEqualValues) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 2, 3}), 1);
}

TEST(Comparison, CosineAndRowError) {
  const std::vector<float> a = {3, 4}, b = {6, 8}, c = {-4, 3}, zero = {0, 0};
  EXPECT_DOUBLE_EQ(cosine(a, b), 1);
  EXPECT_DOUBLE_EQ(cosine(a, c), 0);
  EXPECT_EQ(cosine(a, zero), 0);
  EXPECT_DOUBLE_EQ(row_error(b, a), 1);
  EXPECT_DOUBLE_EQ(row_error(a, b), 0.5);
  EXPECT_EQ(row_error(a, a), 0);
  EXPECT_EQ(row_error(zero, zero), 0);
  EXPECT_EQ(row_error(a, zero), kInfinity);
}

TEST(Comparison, QuantilesOfAnyOrder) {
  std::vector<double> values;
  for (int i = 0; i <= 100; ++i) values.push_back((i * 37) % 101);
  EXPECT_EQ(quantile(values, 0), 0);
  EXPECT_EQ(quantile(values, 0.5), 50);
  EXPECT_EQ(quantile(values, 0.9), 90);
  EXPECT_EQ(quantile(values, 1), 100);
  EXPECT_EQ(quantile({7}, 0.9), 7);
}

TEST(Comparison, LogitsRowByRow) {
  const Rows expected(2, {3, 4, 1, 0});
  const Rows actual(2, {3, 4.5, 0, 1});
  const LogitsComparison c = compare_logits(actual, expected);
  EXPECT_EQ(c.rows, 2);
  EXPECT_EQ(c.max_difference, 1);
  EXPECT_EQ(c.least_cosine, 0);
  EXPECT_NEAR(c.mean_cosine, 27 / (5 * std::sqrt(29.25)) / 2, 1e-12);
  EXPECT_EQ(c.equal_argmax, 1);
}

TEST(Comparison, NotANumberIsNeverGood) {
  const Rows expected(2, {3, 4, 1, 2});
  const LogitsComparison c = compare_logits(Rows(2, {kNaN, 4, 1, 2}), expected);
  EXPECT_EQ(c.max_difference, kInfinity);  // though the last difference is 0
  EXPECT_EQ(c.least_cosine, 0);
  EXPECT_EQ(row_error(std::vector<float>{kNaN, 1}, std::vector<float>{1, 1}), kInfinity);
}

TEST(Comparison, GreedyIdsComeFromThePromptAndTheSteps) {
  const Rows prompt(3, {9, 0, 0, 0, 0, 1}), steps(3, {1, 0, 0, 0, 1, 0});
  EXPECT_EQ(count_equal_greedy_ids(prompt, steps, std::vector<int32_t>{2, 0}), 2);
  EXPECT_EQ(count_equal_greedy_ids(prompt, steps, std::vector<int32_t>{0, 0}), 1);
}

TEST(Comparison, LayersRememberTheirWorstRow) {
  LayerErrors errors;
  const Rows expected(2, {3, 4, 3, 4, 3, 4});
  errors.add(Sums::kExact, Rows(2, {3, 4, 6, 8, 3, 4}), expected, "prompt_3");
  errors.add(Sums::kExact, Rows(2, {3, 4.5}), Rows(2, {3, 4}), "prompt_3 step 0");
  EXPECT_EQ(errors.all(), (std::vector<double>{0, 1, 0, 0.1}));
  EXPECT_EQ(errors.worst(), 1);
  EXPECT_EQ(errors.worst_row(), "prompt_3 row 1");
  errors.add(Sums::kExact, Rows(2, {kNaN, 0}), Rows(2, {3, 4}), "prompt_3 step 1");
  EXPECT_EQ(errors.worst_row(), "prompt_3 step 1");
  EXPECT_EQ(quantile(errors.all(), 1), kInfinity);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
