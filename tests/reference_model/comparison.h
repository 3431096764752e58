// SPDX-License-Identifier: Apache-2.0
// How tensors are compared in tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/reference_model/numerics.h"

namespace tessera::reference_model {

inline int64_t argmax(std::span<const double> row) {
  return std::max_element(row.begin(), row.end()) - row.begin();
}

inline double cosine(std::span<const double> a, std::span<const double> b) {
  return dot(a, b) / std::sqrt(dot(a, a) * dot(b, b));
}

inline double max_difference(const Rows& a, const Rows& b) {
  TESSERA_CHECK(a.rows == b.rows && a.cols == b.cols, "[{}, {}] against [{}, {}]", a.rows, a.cols,
                b.rows, b.cols);
  double largest = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    const double difference = std::abs(a.values[i] - b.values[i]);
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference);
  }
  return largest;
}

/// |a - b| / |b| of each row.
inline std::vector<double> row_errors(const Rows& a, const Rows& b) {
  TESSERA_CHECK(a.rows == b.rows && a.cols == b.cols, "[{}, {}] against [{}, {}]", a.rows, a.cols,
                b.rows, b.cols);
  std::vector<double> errors;
  for (int64_t t = 0; t < a.rows; ++t) {
    double difference = 0;
    for (int64_t c = 0; c < a.cols; ++c) difference += std::pow(a[t][c] - b[t][c], 2);
    errors.push_back(std::sqrt(difference / dot(b[t], b[t])));
  }
  return errors;
}

inline double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

}  // namespace tessera::reference_model
