// SPDX-License-Identifier: Apache-2.0
// For tests: the checkpoint flash-nano with vectors that the official code computed from it.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "tessera/base/testing/reference_data.h"
#include "tests/reference_model/model.h"

namespace tessera::reference_model {

/// The parameter is a prompt's length.
class GoldenTest : public testing::TestWithParam<int> {
 protected:
  void open(Mode mode) {
    const auto folder = reference_folder() / "goldens/flash-nano";
    auto model = Model::open(folder, mode);
    ASSERT_TRUE(model.ok()) << model.error().to_string();
    model_ = std::make_unique<Model>(std::move(*model));
    golden_ = std::move(*TensorFiles::open(folder / "golden.safetensors"));
    layers_ = std::move(*TensorFiles::open(folder / "layers.safetensors"));
    ids_ = golden_.integers(name("ids"));
    greedy_ = golden_.integers(name("fp32.greedy_ids"));
  }
  std::string name(const std::string& part) const {
    return fmt::format("prompt_{}.{}", GetParam(), part);
  }

  std::unique_ptr<Model> model_;
  TensorFiles golden_, layers_;
  std::vector<int64_t> ids_, greedy_;
};

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
    if (!(difference <= largest)) largest = difference;  // a NaN stays
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
