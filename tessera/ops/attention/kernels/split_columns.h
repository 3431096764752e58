// SPDX-License-Identifier: Apache-2.0
// Attention of few tokens over few keys on chips with a matrix unit: a first kernel has all scores,
// a program for some keys; of a second one each program weighs some columns of all of a token's
// rows for some heads, so that there is nothing to join.
#pragma once

#include "tessera/ops/attention/kernels/online_softmax.h"

namespace tessera::ops {

struct SplitColumns {
  static constexpr int64_t kMostTokens = 8, kMostKeys = 1024;
  /// Whether it pays: of several tokens quantised rows would be decoded too often.
  static bool pays(const PlanBuilder& b) {
    return b.dim("N") <= kMostKeys && b.m_class("T") <= (b.has("kv") ? kMostTokens : 1);
  }
  /// Keys whose scores a program has.
  static constexpr int64_t kScoredKeys = 32;
  /// Heads of a program that weighs: softmax is done again for each part of the columns.
  static constexpr int64_t kHeads = 16;
  /// Blocks of keys it weighs at once.
  static constexpr int64_t kBlocks = 4;

  static void plan(PlanBuilder& b, const OnlineSoftmax& z) {
    // Rows whose length is a multiple of 128, so that they are read 16 bytes at once.
    const Arg scores =
        b.workspace("scores", DType::f32, {b.dim("T"), b.dim("H"), round_up(b.dim("N"), 128)},
                    {true, false, false});
    plan_scores(b, z, scores.with_access(Access::kWrite));
    plan_rows(b, z, scores.with_access(Access::kRead));
  }

 private:
  static std::vector<Arg> with(std::vector<Arg> rows, std::initializer_list<Arg> more) {
    rows.insert(rows.end(), more);
    return rows;
  }

  static void plan_scores(PlanBuilder& b, OnlineSoftmax z, const Arg& scores) {
    z.keys = kScoredKeys;
    b.kernel_named(
        "score" + KeyRows::suffix(b),
        {programs_for(b.dim("H"), z.heads), scores.shape[2] / z.keys, b.dim("T")},
        with(KeyRows::args(b), {b.tensor("q"), b.tensor("indices"), scores}),
        [=](KernelBuilder& k, const NamedViews& v) {
          const Tile h = k.program_id(0) * z.heads, j = k.program_id(1) * z.keys,
                     t = k.program_id(2);
          const Tile index = load(v["indices"], {t, j}, {z.keys}, -1);
          const auto put = [&](Tile tile) {
            store(v["scores"], {t, h, j}, reshape(tile, {1, z.heads, z.keys}));
          };
          k.if_(
              reshape(reduce_max(index, 0), {}) >= 0,
              [&] {
                const Tile query = load(v["q"], {t, h, 0}, {z.heads, z.width});
                const Tile key = KeyRows(v, z.width, z.dtype).at(k, index);
                put(z.scores_of(k, query, key, index));
              },
              [&] { put(k.constant(DType::f32, {z.heads, z.keys}, OnlineSoftmax::kNever)); });
        });
  }

  static void plan_rows(PlanBuilder& b, OnlineSoftmax z, const Arg& scores) {
    z.heads = std::min(z.heads, kHeads);
    z.keys = kBlocks * OnlineSoftmax::kBlock;
    z.partial_sums = 1;
    const int64_t columns = std::min<int64_t>(z.width, b.m_class("T") == 1 ? 32 : 64);
    b.kernel_named(
        "weigh" + KeyRows::suffix(b),
        {programs_for(b.dim("D"), columns), programs_for(b.dim("H"), z.heads), b.dim("T")},
        with(KeyRows::args(b), {b.tensor("indices"), b.tensor("sink"), scores, b.tensor("out")}),
        [=](KernelBuilder& k, const NamedViews& v) {
          const Tile column = k.program_id(0) * columns, h = k.program_id(1) * z.heads,
                     t = k.program_id(2);
          const View list = v["indices"];
          const Tile end = list.extent(1);
          const KeyRows rows(v, z.width, z.dtype);
          const auto [most, sum, weighed] = k.for_range(
              0, end, z.keys,
              lang::carry(z.never(k), k.zeros(DType::f32, {z.heads, 1}),
                          k.zeros(DType::f32, {z.heads, columns})),
              [&](Tile j, Tile most, Tile sum, Tile weighed) {
                const Tile scores =
                    load(v["scores"], {t, h, j}, {1, z.heads, z.keys}, OnlineSoftmax::kNever);
                const Tile key = rows.at(k, z.indices_at(list, t, j, end), column, columns);
                const auto next =
                    z.with_blocks(k, {most, sum, weighed},
                                  reshape(scores, {z.heads, kBlocks, OnlineSoftmax::kBlock}), key);
                return lang::carry(next.max, next.sum, next.rows);
              });
          z.store_finished({most, sum, weighed}, v["sink"], v["out"], t, h, column);
        });
  }
};

}  // namespace tessera::ops
