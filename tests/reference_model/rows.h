// SPDX-License-Identifier: Apache-2.0
// A dense matrix of doubles, one row a token; what the reference model computes with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/base/check.h"

namespace tessera::reference_model {

struct Rows {
  int64_t rows = 0, cols = 0;
  std::vector<double> values;

  Rows() = default;
  Rows(int64_t row_count, int64_t col_count, double fill = 0)
      : rows(row_count), cols(col_count), values(row_count * col_count, fill) {}

  std::span<double> operator[](int64_t r) { return {values.data() + r * cols, size_t(cols)}; }
  std::span<const double> operator[](int64_t r) const {
    return {values.data() + r * cols, size_t(cols)};
  }

  void append(const Rows& more) {
    TESSERA_CHECK(rows == 0 || cols == more.cols, "appending {} columns to {}", more.cols, cols);
    cols = more.cols;
    rows += more.rows;
    values.insert(values.end(), more.values.begin(), more.values.end());
  }
};

/// Rows [begin, end) of `from`.
inline Rows slice(const Rows& from, int64_t begin, int64_t end) {
  Rows part(end - begin, from.cols);
  part.values.assign(from.values.begin() + begin * from.cols,
                     from.values.begin() + end * from.cols);
  return part;
}

}  // namespace tessera::reference_model
