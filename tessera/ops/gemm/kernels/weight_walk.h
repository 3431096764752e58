// SPDX-License-Identifier: Apache-2.0
// How every product y = a w^T walks its weights. With up to 8 rows of activations (16 where the
// chip has no instructions for tiles) the product is a read of w: a program owns a run of rows of w
// and takes them one after the other, so that raw weights are one linear stream. With more, a
// program owns one tile of y, of few rows of w where the chip has instructions for that.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/matrix_tiles.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops::gemm {

/// Elements of K that share a scale of activations: no step is shorter.
inline constexpr int64_t kShortestStep = 128;

/// Static sizes of one use, from the chip's capabilities, the class of M and short K alone.
struct Blocking {
  int64_t m, n, k;  // one dot step: rows of a, rows of w, elements of K
  int64_t rows;     // rows of w a program owns; a multiple of n
};

/// What decides a step besides the chip: e4m3 by e4m3 has matrix instructions of its own; sums that
/// keep f32's accuracy want a smaller tile.
enum class Products : uint8_t { kWide, kExactInBf16, kE4m3, kF32 };

/// Whether products of so many rows have instructions for tiles.
inline bool has_matrix_tile(const runtime::Capabilities& caps, int64_t m_class) {
  return m_class > 8 && ops::has_matrix_tile(caps);
}

/// Rows of activations up to which sums of e4m3 by e4m3 have the bits of f32. A chip with matrix
/// instructions multiplies more rows by those for FP8, whose sums keep fewer (docs/numerics.md).
inline int64_t most_exact_rows(const runtime::Capabilities& caps) {
  return ops::has_matrix_tile(caps) ? 64 : std::numeric_limits<int64_t>::max();
}

/// `m_class`: product_class(). `k`: extent of the shared dimension. Steps of rows shorter than a
/// tile are as long as the rows are, rounded up to a power of two.
inline Blocking blocking(const runtime::Capabilities& caps, int64_t m_class, int64_t k,
                         Products products = Products::kWide) {
  const bool apart = products == Products::kF32 && has_matrix_tile(caps, m_class);
  const bool exact = products == Products::kExactInBf16 || products == Products::kE4m3;
  runtime::DotTile tile = caps.dot(m_class, exact || apart);
  // Up to 64 rows are still a read of w where few rows have instructions, which take twice as many.
  if (const runtime::DotTile& few = caps.matrix_tile[1];
      exact && m_class > few.m && m_class <= 64 && few.m > 0)
    tile = {2 * few.m, few.n, few.k};
  // Elsewhere 16 rows are, too; a row's sum has the order it has among 64, whose steps are as long.
  const bool read = m_class <= 8 || (m_class <= 16 && !has_matrix_tile(caps, m_class));
  if (read && m_class > 8) tile = {16, std::min<int64_t>(tile.n, 32), tile.k};
  // A turn's sums are apart from those before it: both take registers.
  if (apart) tile = m_class > 64 ? runtime::DotTile{tile.m, 128, 64} : runtime::DotTile{64, 64, 64};
  // Rows of e4m3 take half the bytes of bf16; their sums, first apart for a block of scales, twice
  // the registers.
  if (products == Products::kE4m3 && m_class > most_exact_rows(caps))
    tile = {tile.m, std::max<int64_t>(64, tile.n / 2), 2 * tile.k};
  const int64_t rows = read ? std::max(caps.gemv_rows, tile.n) : tile.n;
  const int64_t step = std::min(tile.k, std::max(kShortestStep, pow2_ceil(k)));
  return {tile.m, tile.n, step, rows};
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

/// Calls body(n) for each tile of n rows the program owns, from `first` on and below N.
template <class Body>
void for_rows(KernelBuilder& k, const Blocking& t, Tile first, Operand n_extent, Body body) {
  if (t.rows == t.n) {
    body(first);
  } else {
    k.for_range(first, min(first + t.rows, n_extent), t.n, body);
  }
}

/// For each of these tiles: sums step(n, k0, acc) over K and hands the sum [m, n] to emit(n, sum).
template <class Step, class Emit>
void walk_weights(KernelBuilder& k, const Blocking& t, Tile first, Operand n_extent,
                  Operand k_extent, DType sum_dtype, Step step, Emit emit) {
  for_rows(k, t, first, n_extent, [&](Tile n) {
    const Tile zero = k.zeros(sum_dtype, {t.m, t.n});
    auto sum = k.for_range(0, k_extent, t.k, lang::carry(zero),
                           [&](Tile k0, Tile acc) { return lang::carry(step(n, k0, acc)); });
    emit(n, sum[0]);
  });
}

/// A step for two matrices at once, which share the rows of w that one would have.
inline Blocking halved(Blocking t) {
  t.n = std::max<int64_t>(1, t.n / 2);
  t.rows = std::max<int64_t>(1, t.rows / 2);
  return t;
}

/// The same of two matrices that the same rows of a meet, in f32: step(n, k0, one, other) gives
/// both sums. What is read of the two is under way at once.
template <class Step, class Emit>
void walk_both(KernelBuilder& k, const Blocking& t, Tile first, Operand n_extent, Operand k_extent,
               Step step, Emit emit) {
  for_rows(k, t, first, n_extent, [&](Tile n) {
    const Tile zero = k.zeros(DType::f32, {t.m, t.n});
    auto sums = k.for_range(0, k_extent, t.k, lang::carry(zero, zero),
                            [&](Tile k0, Tile one, Tile other) { return step(n, k0, one, other); });
    emit(n, sums[0], sums[1]);
  });
}

}  // namespace tessera::ops::gemm
