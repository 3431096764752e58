// SPDX-License-Identifier: Apache-2.0
// How every product y = a w^T walks its weights. With up to 8 rows of activations the product is a
// read of w: a program owns a run of rows of w and takes them one after the other, so that raw
// weights are one linear stream. With more, a program owns one tile of y.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops::gemm {

/// Static sizes of one use, from the chip's capabilities and the class of M alone.
struct Blocking {
  int64_t m, n, k;  // one dot step: rows of a, rows of w, elements of K
  int64_t rows;     // rows of w a program owns; a multiple of n
};

inline Blocking blocking(const runtime::Capabilities& caps, int64_t m_class) {
  const runtime::DotTile& tile = caps.dot(m_class);
  const int64_t rows = m_class <= 8 ? std::max(caps.gemv_rows, tile.n) : tile.n;
  return {tile.m, tile.n, tile.k, rows};
}

/// Programs of a product: neighbours share their rows of a, which are converted once for all of
/// them.
inline std::vector<int64_t> grid(const Blocking& t, int64_t m, int64_t n) {
  return {(n + t.rows - 1) / t.rows, (m + t.m - 1) / t.m};
}

/// Where a program of grid() begins: rows of a, rows of w.
struct Start {
  Tile m, n;
};
inline Start start(KernelBuilder& k, const Blocking& t) {
  return {k.program_id(1) * t.m, k.program_id(0) * t.rows};
}

/// For each tile of n rows the program owns, from `first` on and below N: sums step(n, k0, acc)
/// over K and hands the sum [m, n] to emit(n, sum).
template <class Step, class Emit>
void walk_weights(KernelBuilder& k, const Blocking& t, Tile first, Operand n_extent,
                  Operand k_extent, DType sum_dtype, Step step, Emit emit) {
  auto one_tile = [&](Tile n) {
    const Tile zero = k.zeros(sum_dtype, {t.m, t.n});
    auto sum = k.for_range(0, k_extent, t.k, lang::carry(zero),
                           [&](Tile k0, Tile acc) { return lang::carry(step(n, k0, acc)); });
    emit(n, sum[0]);
  };
  if (t.rows == t.n) {
    one_tile(first);
  } else {
    k.for_range(first, min(first + t.rows, n_extent), t.n, one_tile);
  }
}

}  // namespace tessera::ops::gemm
