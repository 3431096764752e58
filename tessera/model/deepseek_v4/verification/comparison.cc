// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/base/check.h"

namespace tessera::model::deepseek_v4 {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

void check_shapes(const Rows& actual, const Rows& expected) {
  TESSERA_CHECK(actual.columns == expected.columns && actual.count() == expected.count() &&
                    expected.count() > 0,
                "[{}, {}] against [{}, {}]", actual.count(), actual.columns, expected.count(),
                expected.columns);
}

}  // namespace

int64_t argmax(std::span<const float> row) { return std::ranges::max_element(row) - row.begin(); }

double cosine(std::span<const float> a, std::span<const float> b) {
  const double value = dot(a, b) / (std::sqrt(dot(a, a)) * std::sqrt(dot(b, b)));
  return std::isnan(value) ? 0 : value;
}

double row_error(std::span<const float> actual, std::span<const float> expected) {
  double difference = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double d = static_cast<double>(actual[i]) - expected[i];
    difference += d * d;
  }
  if (difference == 0) return 0;
  const double error = std::sqrt(difference / dot(expected, expected));
  return std::isnan(error) ? kInfinity : error;
}

double quantile(std::vector<double> values, double share) {
  TESSERA_CHECK(!values.empty());
  const auto at = static_cast<size_t>(share * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(at));
  return values[at];
}

LogitsComparison compare_logits(const Rows& actual, const Rows& expected) {
  check_shapes(actual, expected);
  LogitsComparison result;
  result.rows = expected.count();
  result.least_cosine = kInfinity;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual.values[i]) - expected.values[i]);
    result.max_difference =
        std::max(result.max_difference, std::isnan(difference) ? kInfinity : difference);
  }
  double sum = 0;
  for (int64_t r = 0; r < result.rows; ++r) {
    const double c = cosine(actual[r], expected[r]);
    sum += c;
    result.least_cosine = std::min(result.least_cosine, c);
    result.equal_argmax += argmax(actual[r]) == argmax(expected[r]) ? 1 : 0;
  }
  result.mean_cosine = sum / static_cast<double>(result.rows);
  return result;
}

int64_t count_equal_greedy_ids(const Rows& prompt, const Rows& steps,
                               std::span<const int32_t> ids) {
  int64_t equal = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto row = i == 0 ? prompt[prompt.count() - 1] : steps[static_cast<int64_t>(i) - 1];
    equal += argmax(row) == ids[i] ? 1 : 0;
  }
  return equal;
}

void LayerErrors::add(Sums sums, const Rows& actual, const Rows& expected,
                      const std::string& where) {
  check_shapes(actual, expected);
  for (int64_t r = 0; r < expected.count(); ++r) {
    const double error = row_error(actual[r], expected[r]);
    errors_[static_cast<size_t>(sums)].push_back(error);
    if (error <= worst_) continue;
    worst_ = error;
    worst_row_ = expected.count() == 1 ? where : fmt::format("{} row {}", where, r);
  }
}

std::vector<double> LayerErrors::all() const {
  std::vector<double> errors = of(Sums::kExact);
  errors.insert(errors.end(), of(Sums::kCoarse).begin(), of(Sums::kCoarse).end());
  return errors;
}

}  // namespace tessera::model::deepseek_v4
