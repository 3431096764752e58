// SPDX-License-Identifier: Apache-2.0
// How operators that walk rows cut them into tiles and programs. Sizes come from the chip's
// capabilities and from static dimensions, never from the number of rows.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string_view>
#include <utility>

#include "tessera/ops/frame/plan.h"

namespace tessera::ops {

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
inline int64_t programs_for(int64_t count, int64_t per_program) {
  return (count + per_program - 1) / per_program;
}
/// The smallest power of two that is at least `value` and 1.
inline int64_t pow2_ceil(int64_t value) {
  return value <= 1 ? 1 : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(value)));
}

/// Body over `per_program` indices starting at program_id(axis) * per_program, `step` at a time.
template <class Body>
void for_program(KernelBuilder& k, int axis, int64_t per_program, int64_t step, Operand count,
                 Body body) {
  const Tile first = k.program_id(axis) * per_program;
  if (per_program == step) {
    body(first);
  } else {
    k.for_range(first, min(first + per_program, count), step, body);
  }
}

/// Tiles of `rows` x `cols` elements; wide rows are walked by one program, narrow ones share it.
struct RowTiling {
  int64_t rows = 1;
  int64_t cols = 1;
  int64_t per_program = 1;  // rows, a multiple of `rows`

  TileShape shape() const { return {rows, cols}; }
  int64_t programs(int64_t count) const { return programs_for(count, per_program); }
  /// body(row) for the first row of each tile of this program.
  template <class Body>
  void for_rows(KernelBuilder& k, const View& view, Body body) const {
    for_program(k, 0, per_program, rows, view.extent(0), body);
  }
};

/// `width`: elements of a row, static. `least`: columns that must share a tile (a quantisation
/// block). `fill`: columns for each f32 element that the chip wants in a tile (2 for plain bf16
/// copies).
inline RowTiling row_tiling(const PlanBuilder& b, std::string_view row_dim, int64_t width,
                            int64_t least = 1, int64_t fill = 1) {
  const int64_t tile = b.caps().vector_tile * fill, rows = b.m_class(row_dim);
  RowTiling t;
  t.cols = std::max(least, std::min(tile, pow2_ceil(width)));
  t.rows = std::clamp<int64_t>(tile / t.cols, 1, rows);
  const int64_t wanted = b.caps().program_grain / std::max<int64_t>(width, 1);
  t.per_program = std::min(rows, std::max(t.rows, wanted / t.rows * t.rows));
  return t;
}

/// Stores bypass the caches when many rows are so large together that nothing stays in them anyway.
inline Arg streamed_if_large(const PlanBuilder& b, std::string_view tensor,
                             std::string_view row_dim, int64_t row_elements) {
  constexpr int64_t kLargeBytes = 4 << 20;
  Arg arg = b.tensor(tensor);
  const int64_t rows = b.m_class(row_dim);
  arg.streamed = rows > 64 && rows * size_in_bytes(arg.dtype, row_elements) >= kLargeBytes;
  return arg;
}

inline Tile to_f32(Tile x) { return cast(x, DType::f32); }

}  // namespace tessera::ops
