// SPDX-License-Identifier: Apache-2.0
// Attention of few tokens by programs that share a token's keys: a first kernel has all scores, a
// second weighs rows, a third joins the partial results in order.
#pragma once

#include <algorithm>
#include <vector>

#include "tessera/ops/attention/kernels/online_softmax.h"

namespace tessera::ops {

class SplitKeys {
 public:
  /// Keys of a program.
  static int64_t span(const PlanBuilder& b, const OnlineSoftmax& z) {
    return z.on_matrix_unit ? z.keys : 2 * b.caps().attention_keys;
  }

  static void plan(PlanBuilder& b, OnlineSoftmax z) {
    z.indices = OnlineSoftmax::kBlock;
    z.partial_sums = 1;
    SplitKeys(b, z).plan();
  }

 private:
  /// Maxima of parts that are read at once.
  static constexpr int64_t kPartsAStep = 16;

  SplitKeys(PlanBuilder& b, const OnlineSoftmax& z)
      : b_(b), z_(z), keys_(span(b, z)), splits_(programs_for(b.dim("N"), span(b, z))) {}

  Arg workspace(std::string name, int64_t columns) {
    return b_.workspace(std::move(name), DType::f32, {b_.dim("T"), splits_, b_.dim("H"), columns},
                        {true, true, false, false});
  }
  std::vector<int64_t> grid() const {
    return {programs_for(b_.dim("H"), z_.heads), splits_, b_.dim("T")};
  }
  std::vector<Arg> with_rows(std::initializer_list<Arg> more) const {
    std::vector<Arg> args = KeyRows::args(b_);
    args.insert(args.end(), more);
    return args;
  }

  void plan() {
    const Arg scores = b_.workspace("scores", DType::f32, {b_.dim("T"), b_.dim("H"), b_.dim("N")},
                                    {true, false, true});
    // The largest score of each part by itself; then of a part's block and all before it.
    const Arg part_top = workspace("part_top", 1), part_max = workspace("part_max", 1);
    const Arg part_sum = workspace("part_sum", 1), part_rows = workspace("part_rows", b_.dim("D"));
    plan_scores(scores.with_access(Access::kWrite), part_top.with_access(Access::kWrite));
    plan_parts({b_.tensor("indices"), scores, part_top, part_max.with_access(Access::kWrite),
                part_sum.with_access(Access::kWrite), part_rows.with_access(Access::kWrite)});
    plan_join({part_max, part_sum, part_rows, b_.tensor("sink"), b_.tensor("out")});
  }

  void plan_scores(const Arg& scores, const Arg& part_top) {
    const OnlineSoftmax z = z_;
    const int64_t keys = keys_;
    b_.kernel_named(
        "score" + KeyRows::suffix(b_), grid(),
        with_rows({b_.tensor("q"), b_.tensor("indices"), scores, part_top}),
        [=](KernelBuilder& k, const NamedViews& v) {
          const View indices = v["indices"];
          const Tile h = k.program_id(0) * z.heads, split = k.program_id(1), t = k.program_id(2);
          const Tile lo = split * keys, hi = min(lo + keys, indices.extent(1));
          const Tile query = load(v["q"], {t, h, 0}, {z.heads, z.width});
          const Tile end = z.last_used(k, indices, t, lo, hi);
          const KeyRows rows(v, z.width, z.dtype);
          const auto put = [&](Tile j, Tile tile) {
            store(v["scores"], {t, h, j}, reshape(tile, {1, z.heads, z.keys}));
          };
          const auto top =
              k.for_range(lo, end, z.keys, lang::carry(z.never(k)), [&](Tile j, Tile top) {
                const Tile index = z.indices_at(indices, t, j, end);
                const Tile own = z.scores_of(k, query, rows.at(k, index), index);
                put(j, own);
                return lang::carry(max(top, reduce_max(own, 1)));
              });
          const Tile never = k.constant(DType::f32, {z.heads, z.keys}, OnlineSoftmax::kNever);
          k.for_range(lo + ceil_div(max(end - lo, 0), z.keys) * z.keys, hi, z.keys,
                      [&](Tile j) { put(j, never); });
          store(v["part_top"], {t, split, h, 0}, top[0]);
        });
  }

  void plan_parts(std::initializer_list<Arg> args) {
    constexpr int64_t kBlock = OnlineSoftmax::kBlock;
    const OnlineSoftmax z = z_;
    const int64_t keys = keys_;
    b_.kernel_named(
        "part" + KeyRows::suffix(b_), grid(), with_rows(args),
        [=](KernelBuilder& k, const NamedViews& v) {
          const View indices = v["indices"], scores = v["scores"];
          const Tile h = k.program_id(0) * z.heads, split = k.program_id(1), t = k.program_id(2);
          const Tile lo = split * keys, hi = min(lo + keys, indices.extent(1));
          const Tile end = z.last_used(k, indices, t, lo, hi);
          const Tile never = z.never(k);
          const auto largest = [&](Tile block, Tile) {
            const Tile all =
                load(scores, {t, h, block}, {1, z.heads, kBlock}, OnlineSoftmax::kNever);
            return reduce_max(reshape(all, {z.heads, kBlock}), 1);
          };
          const auto score = [&](Tile j, Tile, Tile) {
            return reshape(load(scores.bounded(2, end), {t, h, j}, {1, z.heads, z.keys},
                                OnlineSoftmax::kNever),
                           {z.heads, z.keys});
          };
          k.if_(
              end > lo,
              [&] {
                const Tile first = lo / kBlock * kBlock / keys;  // part of this block
                const View tops = v["part_top"].bounded(1, first);
                const auto before =
                    k.for_range(0, first, kPartsAStep, lang::carry(never), [&](Tile s, Tile most) {
                      const Tile top = load(tops, {t, s, h, 0}, {kPartsAStep, z.heads, 1},
                                            OnlineSoftmax::kNever);
                      return lang::carry(max(most, reshape(reduce_max(top, 0), {z.heads, 1})));
                    });
                const auto p = z.attend(k, KeyRows(v, z.width, z.dtype), indices, t, lo, end,
                                        before[0], score, largest);
                store(v["part_max"], {t, split, h, 0}, p.max);
                store(v["part_sum"], {t, split, h, 0}, p.sum);
                store(v["part_rows"], {t, split, h, 0}, p.rows);
              },
              [&] {  // nothing to add: sum and rows stay unwritten
                store(v["part_max"], {t, split, h, 0}, never);
              });
        });
  }

  void plan_join(std::vector<Arg> args) {
    const OnlineSoftmax z = z_;
    // Parts that are read at once: each step waits for memory.
    const int64_t parts = z.on_matrix_unit ? 8 : 1;
    const int64_t heads =
        std::clamp<int64_t>(b_.caps().program_grain / z.width / parts, 1, z.heads);
    b_.kernel_named(
        "join", {programs_for(b_.dim("H"), heads), b_.dim("T")}, std::move(args),
        [=](KernelBuilder& k, const NamedViews& v) {
          const View part_max = v["part_max"];
          const Tile h = k.program_id(0) * heads, t = k.program_id(1);
          const auto max_of = [&](Tile s, int64_t count) {
            return load(part_max, {t, s, h, 0}, {count, heads, 1}, OnlineSoftmax::kNever);
          };
          // The maximum, and one past the last part that has keys: a context often ends early in
          // its capacity.
          const Tile max0 = k.constant(DType::f32, {heads, 1}, OnlineSoftmax::kNever);
          const auto [most, used] = k.for_range(
              0, part_max.extent(1), kPartsAStep, lang::carry(max0, k.constant(DType::i32, {}, 0)),
              [&](Tile s, Tile most, Tile used) {
                const Tile part = max_of(s, kPartsAStep);
                const Tile number = k.iota({kPartsAStep, 1, 1}, 0) + cast(s, DType::i32) + 1;
                const Tile last =
                    reshape(select(part > OnlineSoftmax::kNever, number, 0), {kPartsAStep * heads});
                return lang::carry(max(most, reshape(reduce_max(part, 0), {heads, 1})),
                                   max(used, reshape(reduce_max(last, 0), {})));
              });
          const Tile sum0 = k.zeros(DType::f32, {heads, 1}),
                     rows0 = k.zeros(DType::f32, {heads, z.width});
          const Tile top = most;
          auto all = k.for_range(
              0, cast(used, DType::i64), parts, lang::carry(sum0, rows0),
              [&](Tile s, Tile sum, Tile rows) {
                const Tile part = max_of(s, parts), empty = part == OnlineSoftmax::kNever;
                const Tile factor = OnlineSoftmax::above(part, reshape(top, {1, heads, 1}));
                const auto add = [&](const View& view, int64_t cols, Tile to) {
                  const Tile more = load(view, {t, s, h, 0}, {parts, heads, cols}) * factor;
                  return to + reshape(reduce_sum(select(empty, 0.0, more), 0), {heads, cols});
                };
                return lang::carry(add(v["part_sum"], 1, sum), add(v["part_rows"], z.width, rows));
              });
          OnlineSoftmax own = z;
          own.heads = heads;
          own.store_finished({top, all[0], all[1]}, v["sink"], v["out"], t, h, 0);
        });
  }

  PlanBuilder& b_;
  const OnlineSoftmax z_;
  const int64_t keys_, splits_;
};

}  // namespace tessera::ops
