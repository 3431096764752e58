// SPDX-License-Identifier: Apache-2.0
// The numbers a plan may ask of a chip. They steer sizes, never results: a kernel is right under
// any of them. Nothing here depends on the number of threads or devices, so a plan (and with it the
// order of summation) is the same on every machine of one architecture.
#pragma once

#include <cstdint>

namespace tessera::runtime {

/// Tile of one dot step: `m` rows of activations, `n` rows of weights, `k` of the shared dimension.
struct DotTile {
  int64_t m, n, k;
};

class Tuning;

struct Capabilities {
  /// Elements of f32 that one program handles at once in elementwise code and reductions (power of
  /// two).
  int64_t vector_tile = 64;
  /// Elements a program should be given in all before more programs are worth their overhead.
  int64_t program_grain = 4096;
  /// Rows of weights a matrix-vector program walks, one after the other.
  int64_t gemv_rows = 64;
  /// Best dot tile for at most 1, 8, 64 and more rows of activations.
  DotTile dot_tile[4] = {{1, 1, 1024}, {8, 4, 512}, {64, 64, 256}, {64, 64, 256}};
  /// The same where both operands are exact in bf16 and the chip has instructions for tiles of
  /// these; m = 0: it has none.
  DotTile matrix_tile[4] = {};
  /// Products of bf16 tiles that are used many times run faster once converted to f32.
  bool wide_products = false;
  /// Keys a sparse-attention step handles at once.
  int64_t attention_keys = 64;
  /// Largest tile a program may sort in place.
  int64_t sort_tile = 1024;
  /// Numbers for single operators in place of these; null: none. Must outlive its users.
  const Tuning* tuning = nullptr;

  const DotTile& dot(int64_t m, bool exact_in_bf16 = false) const {
    const int row_class = m <= 1 ? 0 : m <= 8 ? 1 : m <= 64 ? 2 : 3;
    const DotTile& tile = matrix_tile[row_class];
    return exact_in_bf16 && tile.m > 0 ? tile : dot_tile[row_class];
  }
};

}  // namespace tessera::runtime
