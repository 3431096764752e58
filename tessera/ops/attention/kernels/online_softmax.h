// SPDX-License-Identifier: Apache-2.0
// A token's softmax over its keys, block by block, and the rows it weighs.
#pragma once

#include <algorithm>
#include <limits>
#include <numbers>
#include <utility>
#include <vector>

#include "tessera/ops/attention/kernels/key_rows.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct OnlineSoftmax {
  /// Keys whose scores are all known before the first of them is weighted.
  static constexpr int64_t kBlock = 64;
  static constexpr double kNever = -std::numeric_limits<double>::infinity();

  // Static sizes of a program: some heads of one token, `keys` rows a step.
  int64_t heads, width, keys;
  int64_t indices;  // a step of last_used()
  double scale;
  DType dtype;
  /// Products of a block of keys are for the matrix unit.
  bool on_matrix_unit = false;
  /// Sums of p of a head that are added up behind the loop over keys, so that no thread waits for
  /// another's: 1, kQuads or the keys of a step.
  int64_t partial_sums = 1;
  /// On the matrix unit each of so many lies in one thread with what it is the sum of.
  static constexpr int64_t kQuads = 16;

  /// The softmax so far: maximum [heads, 1], sum [heads, partial_sums], and the weighted sum of
  /// rows [heads, columns].
  struct Partial {
    Tile max, sum, rows;
  };

  /// Scores are in units of a factor 2. 2^(x - max), where max may still be -inf (no key yet); then
  /// every x is -inf too and gives 0.
  static Tile above(Tile x, Tile max) { return exp2(x - select(max == kNever, 0.0, max)); }

  Tile never(KernelBuilder& k) const { return k.constant(DType::f32, {heads, 1}, kNever); }

  /// One past the last index in [lo, hi) that is not -1.
  Tile last_used(KernelBuilder& k, const View& list, Tile t, Tile lo, Tile hi) const {
    auto last = k.for_range(
        lo, hi, indices, lang::carry(k.constant(DType::i32, {}, 0)), [&](Tile j, Tile last) {
          const Tile position = k.iota({indices}, 0) + cast(j, DType::i32) + 1;
          const Tile used = select(load(list, {t, j}, {indices}, -1) >= 0, position, 0);
          return lang::carry(max(last, reshape(reduce_max(used, 0), {})));
        });
    return min(cast(last[0], DType::i64), hi);
  }

  /// The row indices of keys [j, j + keys) of a list that ends at `end`; -1 behind it.
  Tile indices_at(const View& list, Tile t, Tile j, Tile end) const {
    return load(list.bounded(1, end), {t, j}, {keys}, -1);
  }
  /// Scores [heads, keys] of these rows.
  Tile scores_of(KernelBuilder& k, Tile query, Tile key, Tile index) const {
    const Tile score =
        dot(query, key, k.zeros(DType::f32, {heads, keys})) * (scale * std::numbers::log2e);
    return select(reshape(index, {1, keys}) >= 0, score, kNever);
  }

  /// [heads, partial_sums]
  Tile sum_of(Tile p) const {
    if (partial_sums == 1) return reduce_sum(p, 1);
    if (partial_sums == keys) return p;
    const Tile parts = reshape(p, {2 * heads, keys / partial_sums, partial_sums / 2});
    return reshape(reduce_sum(parts, 1), {heads, partial_sums});
  }
  /// `before`, and one block of keys [kBlock, columns] with its scores.
  Partial with_block(const Partial& before, Tile scores, Tile key) const {
    const Tile most = max(before.max, reduce_max(scores, 1));
    return with_step(before, most, above(before.max, most), scores, key);
  }
  /// `before`, and `blocks` blocks at once: scores [heads, blocks, kBlock], keys [blocks * kBlock,
  /// columns]; partial_sums is 1. The same roundings, the sums of blocks scaled one by one.
  Partial with_blocks(KernelBuilder& k, const Partial& before, Tile scores, Tile key) const {
    const int64_t blocks = scores.shape()[1], columns = key.shape()[1];
    const Tile top = reduce_max(scores, 2), max_before = reshape(before.max, {heads, 1, 1});
    // The largest score of each block and those before it, [heads, 1, blocks].
    const TileShape each = {heads, blocks, blocks};
    const Tile not_after = k.iota({1, blocks, blocks}, 1) <= k.iota({1, blocks, blocks}, 2);
    const Tile so_far =
        reduce_max(select(broadcast(not_after, each), broadcast(top, each), kNever), 1);
    const Tile most = max(before.max, reshape(reduce_max(so_far, 2), {heads, 1}));
    const Tile block_max = max(so_far, max_before);
    const Tile factor = above(block_max, reshape(most, {heads, 1, 1}));
    const Tile p = above(scores, reshape(block_max, {heads, blocks, 1}));
    const Tile sums = reshape(reduce_sum(p, 2), {heads, 1, blocks}) * factor;
    const Tile shrink = above(before.max, most);
    const Tile narrow = reshape(cast(p, dtype), {heads, blocks * kBlock});
    std::vector<Tile> own;  // of each block; products that do not wait for each other
    for (int64_t i = 0; i < blocks; ++i)
      own.push_back(dot_kn(slice(narrow, 1, i * kBlock, kBlock), slice(key, 0, i * kBlock, kBlock),
                           k.zeros(DType::f32, {heads, columns})));
    Tile rows = before.rows * shrink;
    for (int64_t i = 0; i < blocks; ++i)
      rows = rows + own[static_cast<size_t>(i)] * reshape(slice(factor, 2, i, 1), {heads, 1});
    return {most, before.sum * shrink + reshape(reduce_sum(sums, 2), {heads, 1}), rows};
  }
  /// The same of a step whose scores are taken relative to `most`.
  Partial with_step(const Partial& before, Tile most, Tile shrink, Tile scores, Tile key) const {
    const Tile p = above(scores, most);
    const Tile sum = before.sum * shrink + sum_of(p);
    return {most, sum, dot_kn(cast(p, dtype), key, before.rows * shrink)};
  }

  /// Online softmax over indices [lo, end). p is rounded relative to the largest score of its own
  /// block and all before it, on every chip: `before` is that of the blocks before lo's,
  /// score(j, key, index) the scores of one step, largest(block, end) the maximum of a block's, for
  /// chips whose step is a part of one.
  template <class Score, class Largest>
  Partial attend(KernelBuilder& k, const KeyRows& kv, const View& list, Tile t, Tile lo, Tile end,
                 Tile before, const Score& score, const Largest& largest) const {
    const Tile sum0 = k.zeros(DType::f32, {heads, partial_sums}),
               rows0 = k.zeros(DType::f32, {heads, width});
    if (keys == kBlock) {
      auto out = k.for_range(lo, end, kBlock, lang::carry(before, sum0, rows0),
                             [&](Tile j, Tile most, Tile sum, Tile rows) {
                               const Tile index = indices_at(list, t, j, end);
                               const Tile key = kv.at(k, index);
                               const Partial next =
                                   with_block({most, sum, rows}, score(j, key, index), key);
                               return lang::carry(next.max, next.sum, next.rows);
                             });
      return {out[0], reduce_sum(out[1], 1), out[2]};
    }
    const Tile first = lo / kBlock * kBlock;
    auto out =
        k.for_range(first, end, kBlock, lang::carry(before, sum0, rows0),
                    [&](Tile block, Tile max_before, Tile sum, Tile rows) {
                      const Tile stop = min(block + kBlock, end);
                      const Tile most = max(max_before, largest(block, stop));
                      const Tile shrink = above(max_before, most);
                      auto all = k.for_range(
                          max(block, lo), stop, keys, lang::carry(sum * shrink, rows * shrink),
                          [&](Tile j, Tile sum, Tile rows) {
                            const Tile index = indices_at(list, t, j, end), key = kv.at(k, index);
                            const Tile one = k.constant(DType::f32, {heads, 1}, 1.0);
                            const Partial next =
                                with_step({most, sum, rows}, most, one, score(j, key, index), key);
                            return lang::carry(next.sum, next.rows);
                          });
                      return lang::carry(most, all[0], all[1]);
                    });
    return {out[0], reduce_sum(out[1], 1), out[2]};
  }

  /// rows / (sum + exp(sink - max)), by one division a head: dividing each element took 7 % of
  /// a prompt's attention on a GPU. A token without keys has rows = 0 and gives 0.
  static Tile finished(const Partial& p, Tile sink, DType dtype) {
    const Tile denominator = p.sum + above(sink * std::numbers::log2e, p.max);
    return cast(p.rows * select(p.sum > 0.0, 1.0 / denominator, 0.0), dtype);
  }
  /// Writes that of `heads` heads from h on.
  void store_finished(const Partial& p, const View& sink, const View& out, Tile t, Tile h,
                      Operand column) const {
    store(out, {t, h, column}, finished(p, reshape(load(sink, {h}, {heads}), {heads, 1}), dtype));
  }
};

}  // namespace tessera::ops
