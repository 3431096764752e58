// SPDX-License-Identifier: Apache-2.0
// Values on the host, as they are compared: logits, or a residual stream with its copies side by
// side.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace tessera::model::deepseek_v4 {

/// f32 [count, columns].
struct Rows {
  int64_t columns = 0;
  std::vector<float> values;

  Rows() = default;
  Rows(int64_t columns, std::vector<float> values) : columns(columns), values(std::move(values)) {}
  explicit Rows(int64_t columns) : columns(columns) {}

  int64_t count() const { return columns == 0 ? 0 : std::ssize(values) / columns; }
  bool empty() const { return values.empty(); }
  std::span<const float> operator[](int64_t row) const { return part(row, row + 1); }
  /// Rows [first, last).
  std::span<const float> part(int64_t first, int64_t last) const {
    return std::span(values).subspan(static_cast<size_t>(first * columns),
                                     static_cast<size_t>((last - first) * columns));
  }
  void append(std::span<const float> rows) {
    values.insert(values.end(), rows.begin(), rows.end());
  }
};

}  // namespace tessera::model::deepseek_v4
