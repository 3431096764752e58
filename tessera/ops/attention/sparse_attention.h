// SPDX-License-Identifier: Apache-2.0
// Attention of every head of a token over a list of cache rows that are keys and values at once.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/ops/attention/kernels/quantised_row.h"
#include "tessera/ops/attention/kv_dequantise.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct SparseAttention {
  static Signature signature() {
    return {
        .name = "sparse_attention",
        .family = "attention",
        .rows = "37,41",
        .summary = "attention over gathered rows with a sink in the denominator",
        .formula =
            "s[h,j] = q[t,h] . kv[i_j] * scale for i_j = indices[t,j] >= 0; m_h = max_j s[h,j]; p "
            "= exp(s - m) "
            "in f32; out[t,h] = sum_j rnd(p[h,j]) kv[i_j] / (sum_j p[h,j] + exp(sink[h] - m_h)), "
            "one rounding; "
            "0 where all indices are -1; rnd rounds to bf16, with f32 not at all, relative to the "
            "largest score of the entry's block of 64 and the blocks before it. q [T,H,D], kv "
            "[R,D] (K = V, "
            "shared by the heads) and out [T,H,D] are bf16 or f32, all the same; indices i32 "
            "[T,N], sink f32 "
            "[H]. Instead of kv the rows may be kv_quantised u8 [R,B] as kv_quant_insert writes "
            "them (D a power "
            "of two of at least 128): the same bits as with the rows that kv_dequantise gives.",
        .source = "kernel.py:277-352 sparse_attn_kernel, model.py:528-539",
        .tensors = {in("q", "T,H,D", {DType::bf16, DType::f32}),
                    optional(in("kv", "R,D", {DType::bf16, DType::f32})),
                    in("indices", "T,N", {DType::i32}), in("sink", "H", {DType::f32}),
                    out("out", "T,H,D", {DType::bf16, DType::f32}),
                    optional(in("kv_quantised", "R,B", {DType::u8}))},
        .attributes = {{"scale", 0.04419417382415922}},  // 512^-0.5
        .dynamic_dims = {"T", "R", "N"},
    };
  }

  /// Keys whose scores are all known before the first of them is weighted.
  static constexpr int64_t kBlock = 64;
  /// Maxima of parts that are read at once.
  static constexpr int64_t kPartsAStep = 16;
  static constexpr double kNever = -std::numeric_limits<double>::infinity();

  /// Static sizes of a program: some heads of one token, `keys` rows a step.
  struct Sizes {
    int64_t heads, width, keys;
    int64_t indices;  // a step of last_used()
    double scale;
    DType dtype;
  };

  /// The rows: kv, or the parts of the quantised ones.
  struct Rows {
    View kv, codes = {}, rope = {}, scales = {};
    bool quantised = false;
  };
  /// [keys, width] of dtype.
  static Tile keys_at(KernelBuilder& k, const Sizes& z, const Rows& rows, Tile index) {
    if (!rows.quantised) return gather(rows.kv, {0, 0}, index, z.width);
    constexpr int64_t kBlock = QuantisedRow::kBlock;
    const int64_t blocks = z.width / kBlock;
    const TileShape shape = {z.keys, blocks, kBlock};
    // The last block's codes are other bytes of the row; its values are the ones with rope.
    const Tile codes = gather(rows.codes, {0, 0}, index, z.width);
    const Tile scales = gather(rows.scales, {0, 0}, index, blocks, 1);
    const Tile rope = gather(rows.rope, {0, 0}, index, kBlock);
    const Tile scaled =
        to_f32(reshape(codes, shape)) * reshape(to_f32(scales), {z.keys, blocks, 1});
    const Tile is_last = k.iota({1, blocks, 1}, 1) == static_cast<int>(blocks - 1);
    const Tile all = select(is_last, to_f32(reshape(rope, {z.keys, 1, kBlock})), scaled);
    return cast(reshape(all, {z.keys, z.width}), z.dtype);
  }

  /// The softmax so far: maximum and sum [heads, 1], and the weighted sum of rows [heads, width].
  struct Partial {
    Tile max, sum, rows;
  };

  /// Scores are in units of a factor 2. 2^(x - max), where max may still be -inf (no key yet); then
  /// every x is -inf too and gives 0.
  static Tile above(Tile x, Tile max) { return exp2(x - select(max == kNever, 0.0, max)); }

  /// One past the last index in [lo, hi) that is not -1.
  static Tile last_used(KernelBuilder& k, const Sizes& z, const View& indices, Tile t, Tile lo,
                        Tile hi) {
    auto last = k.for_range(
        lo, hi, z.indices, lang::carry(k.constant(DType::i32, {}, 0)), [&](Tile j, Tile last) {
          const Tile position = k.iota({z.indices}, 0) + cast(j, DType::i32) + 1;
          const Tile used = select(load(indices, {t, j}, {z.indices}, -1) >= 0, position, 0);
          return lang::carry(max(last, reshape(reduce_max(used, 0), {})));
        });
    return min(cast(last[0], DType::i64), hi);
  }

  /// The row indices of keys [j, j + keys) of a list that ends at `end`; -1 behind it.
  static Tile indices_at(const Sizes& z, const View& indices, Tile t, Tile j, Tile end) {
    return load(indices.bounded(1, end), {t, j}, {z.keys}, -1);
  }
  /// Scores [heads, keys] of these rows.
  static Tile scores_of(KernelBuilder& k, const Sizes& z, Tile query, Tile key, Tile index) {
    const Tile score =
        dot(query, key, k.zeros(DType::f32, {z.heads, z.keys})) * (z.scale * std::numbers::log2e);
    return select(reshape(index, {1, z.keys}) >= 0, score, kNever);
  }

  /// Online softmax over indices [lo, end). p is rounded relative to the largest score of its own
  /// block and all before it, on every chip: `before` is that of the blocks before lo's,
  /// score(j, key, index) the scores of one step, largest(block, end) the maximum of a block's, for
  /// chips whose step is a part of one.
  template <class Score, class Largest>
  static Partial attend(KernelBuilder& k, const Sizes& z, const Rows& kv, const View& indices,
                        Tile t, Tile lo, Tile end, Tile before, const Score& score,
                        const Largest& largest) {
    const Tile sum0 = k.zeros(DType::f32, {z.heads, 1}),
               rows0 = k.zeros(DType::f32, {z.heads, z.width});
    // One step; max_of gives the maximum its scores are taken relative to.
    const auto step = [&](Tile j, Tile sum, Tile rows, const auto& max_of) {
      const Tile index = indices_at(z, indices, t, j, end), key = keys_at(k, z, kv, index);
      const Tile scores = score(j, key, index);
      const auto [max_now, shrink] = max_of(scores);
      const Tile p = above(scores, max_now);
      return Partial{max_now, sum * shrink + reduce_sum(p, 1),
                     dot_kn(cast(p, z.dtype), key, rows * shrink)};
    };
    if (z.keys == kBlock) {
      auto out = k.for_range(lo, end, kBlock, lang::carry(before, sum0, rows0),
                             [&](Tile j, Tile max_before, Tile sum, Tile rows) {
                               const Partial next = step(j, sum, rows, [&](Tile scores) {
                                 const Tile most = max(max_before, reduce_max(scores, 1));
                                 return std::pair(most, above(max_before, most));
                               });
                               return lang::carry(next.max, next.sum, next.rows);
                             });
      return {out[0], out[1], out[2]};
    }
    const Tile first = lo / kBlock * kBlock;
    auto out =
        k.for_range(first, end, kBlock, lang::carry(before, sum0, rows0),
                    [&](Tile block, Tile max_before, Tile sum, Tile rows) {
                      const Tile stop = min(block + kBlock, end);
                      const Tile most = max(max_before, largest(block, stop));
                      const Tile shrink = above(max_before, most);
                      auto all = k.for_range(
                          max(block, lo), stop, z.keys, lang::carry(sum * shrink, rows * shrink),
                          [&](Tile j, Tile sum, Tile rows) {
                            const Partial next = step(j, sum, rows, [&](Tile) {
                              return std::pair(most, k.constant(DType::f32, {z.heads, 1}, 1.0));
                            });
                            return lang::carry(next.sum, next.rows);
                          });
                      return lang::carry(most, all[0], all[1]);
                    });
    return {out[0], out[1], out[2]};
  }

  /// rows / (sum + exp(sink - max)), by one division a head: dividing each element took 7 % of
  /// a prompt's attention on a GPU. A token without keys has rows = 0 and gives 0.
  static Tile finished(const Partial& p, Tile sink, DType dtype) {
    const Tile denominator = p.sum + above(sink * std::numbers::log2e, p.max);
    return cast(p.rows * select(p.sum > 0.0, 1.0 / denominator, 0.0), dtype);
  }

  /// Whether products of a block of keys are for the matrix unit: it takes all heads at once.
  static bool has_matrix_unit(const PlanBuilder& b) {
    return b.dtype("out") == DType::bf16 && b.caps().matrix_tile[2].m > 0;
  }
  static int64_t keys_of_step(const PlanBuilder& b) {
    return has_matrix_unit(b) ? kBlock : std::min(b.caps().attention_keys, kBlock);
  }
  /// Keys a program takes when few tokens are split over their keys.
  static int64_t span(const PlanBuilder& b) {
    return has_matrix_unit(b) ? kBlock : 2 * b.caps().attention_keys;
  }

  static void plan(PlanBuilder& b) {
    const int64_t T = b.dim("T"), H = b.dim("H"), N = b.dim("N");
    // One token is all there is to share among the cores: fewer heads a program then, though each
    // program decodes quantised rows for itself.
    const int64_t few = b.has("kv") ? 16 : 32;
    const int64_t most_heads = has_matrix_unit(b)    ? b.caps().matrix_tile[2].m
                               : b.m_class("T") == 1 ? few
                                                     : b.caps().dot(H).m;
    const Sizes z{std::min(pow2_ceil(H), most_heads), pow2_ceil(b.dim("D")), keys_of_step(b),
                  has_matrix_unit(b) ? 1024 : kBlock, b.attribute("scale"),  b.dtype("out")};
    const int64_t head_blocks = (H + z.heads - 1) / z.heads, splits = (N + span(b) - 1) / span(b);
    if (b.m_class("T") <= 8 && splits > 1) return plan_split(b, z, head_blocks, splits);
    const auto body = [=](KernelBuilder& k, View q, const Rows& kv, View indices, View sink,
                          View out) {
      const Tile h = k.program_id(0) * z.heads, t = k.program_id(1);
      const Tile query = load(q, {t, h, 0}, {z.heads, z.width});
      const Tile zero = k.index(0), end = last_used(k, z, indices, t, zero, indices.extent(1));
      const Tile never = k.constant(DType::f32, {z.heads, 1}, kNever);
      const auto score = [&](Tile, Tile key, Tile index) {
        return scores_of(k, z, query, key, index);
      };
      const auto largest = [&](Tile block, Tile stop) {
        return k.for_range(block, stop, z.keys, lang::carry(never), [&](Tile j, Tile most) {
          const Tile index = indices_at(z, indices, t, j, end);
          const Tile scores = scores_of(k, z, query, keys_at(k, z, kv, index), index);
          return lang::carry(max(most, reduce_max(scores, 1)));
        })[0];
      };
      const Partial p = attend(k, z, kv, indices, t, zero, end, never, score, largest);
      store(out, {t, h, 0},
            finished(p, reshape(load(sink, {h}, {z.heads}), {z.heads, 1}), z.dtype));
    };
    std::vector<Arg> args = decodes_first(b) ? std::vector{decoded(b)} : row_args(b);
    for (const char* name : {"q", "indices", "sink", "out"}) args.push_back(b.tensor(name));
    if (b.has("kv") || decodes_first(b))
      b.kernel("attend", {head_blocks, T}, args,
               [body](KernelBuilder& k, View kv, View q, View indices, View sink, View out) {
                 body(k, q, Rows{.kv = kv}, indices, sink, out);
               });
    else
      b.kernel("attend_quantised", {head_blocks, T}, args,
               [body](KernelBuilder& k, View codes, View rope, View scales, View q, View indices,
                      View sink, View out) {
                 body(k, q, Rows{{}, codes, rope, scales, true}, indices, sink, out);
               });
  }

  /// Many tokens read each quantised row again and again: for the matrix unit all rows are decoded
  /// once, as bf16.
  static bool decodes_first(const PlanBuilder& b) {
    return !b.has("kv") && has_matrix_unit(b) && b.m_class("T") > 64;
  }
  static Arg decoded(PlanBuilder& b) {
    const Arg cache = b.tensor("kv_quantised");
    const Arg rows = b.workspace("kv", b.dtype("out"), {b.dim("R"), b.dim("D")}, {true, false});
    KvDequantise::decode(b, QuantisedRow{b.dim("D")}, cache, std::nullopt,
                         rows.with_access(Access::kWrite), b.m_class("R"), 0);
    return rows.with_access(Access::kRead);
  }

  /// The arguments behind Rows.
  static std::vector<Arg> row_args(const PlanBuilder& b) {
    if (b.has("kv")) return {b.tensor("kv")};
    const QuantisedRow row{b.dim("D")};
    const Arg kv = b.tensor("kv_quantised");
    return {row.all_bytes_as_codes(kv), row.rope(kv), row.scales(kv)};
  }

  /// Programs share a token's keys: a first kernel has all scores, a second weighs rows, a third
  /// joins the partial results in order.
  static void plan_split(PlanBuilder& b, Sizes z, int64_t head_blocks, int64_t splits) {
    z.indices = kBlock;
    const int64_t T = b.dim("T"), H = b.dim("H"), D = b.dim("D"), keys = span(b);
    const std::vector<bool> dynamic = {true, true, false, false};
    const Arg scores = b.workspace("scores", DType::f32, {T, H, b.dim("N")}, {true, false, true});
    // The largest score of each part by itself; then of a part's block and all before it.
    const Arg part_top = b.workspace("part_top", DType::f32, {T, splits, H, 1}, dynamic);
    const Arg part_max = b.workspace("part_max", DType::f32, {T, splits, H, 1}, dynamic);
    const Arg part_sum = b.workspace("part_sum", DType::f32, {T, splits, H, 1}, dynamic);
    const Arg part_rows = b.workspace("part_rows", DType::f32, {T, splits, H, D}, dynamic);
    const std::vector<int64_t> grid = {head_blocks, splits, T};
    const auto with_rows = [&](std::vector<Arg> more) {
      std::vector<Arg> args = row_args(b);
      args.insert(args.end(), more.begin(), more.end());
      return args;
    };

    const auto score = [=](KernelBuilder& k, const Rows& kv, View q, View indices, View scores,
                           View part_top) {
      const Tile h = k.program_id(0) * z.heads, split = k.program_id(1), t = k.program_id(2);
      const Tile lo = split * keys, hi = min(lo + keys, indices.extent(1));
      const Tile query = load(q, {t, h, 0}, {z.heads, z.width});
      const Tile end = last_used(k, z, indices, t, lo, hi);
      const auto put = [&](Tile j, Tile tile) {
        store(scores, {t, h, j}, reshape(tile, {1, z.heads, z.keys}));
      };
      const Tile never = k.constant(DType::f32, {z.heads, 1}, kNever);
      const auto top = k.for_range(lo, end, z.keys, lang::carry(never), [&](Tile j, Tile top) {
        const Tile index = indices_at(z, indices, t, j, end);
        const Tile own = scores_of(k, z, query, keys_at(k, z, kv, index), index);
        put(j, own);
        return lang::carry(max(top, reduce_max(own, 1)));
      });
      k.for_range(lo + ceil_div(max(end - lo, 0), z.keys) * z.keys, hi, z.keys,
                  [&](Tile j) { put(j, k.constant(DType::f32, {z.heads, z.keys}, kNever)); });
      store(part_top, {t, split, h, 0}, top[0]);
    };
    const auto score_args =
        with_rows({b.tensor("q"), b.tensor("indices"), scores.with_access(Access::kWrite),
                   part_top.with_access(Access::kWrite)});
    if (b.has("kv"))
      b.kernel("score", grid, score_args,
               [score](KernelBuilder& k, View kv, View q, View indices, View scores, View top) {
                 score(k, Rows{.kv = kv}, q, indices, scores, top);
               });
    else
      b.kernel("score_quantised", grid, score_args,
               [score](KernelBuilder& k, View codes, View rope, View scales, View q, View indices,
                       View scores, View top) {
                 score(k, Rows{{}, codes, rope, scales, true}, q, indices, scores, top);
               });

    const auto part = [=](KernelBuilder& k, const Rows& kv, View indices, View scores,
                          View part_top, View part_max, View part_sum, View part_rows) {
      const Tile h = k.program_id(0) * z.heads, split = k.program_id(1), t = k.program_id(2);
      const Tile lo = split * keys, hi = min(lo + keys, indices.extent(1));
      const Tile end = last_used(k, z, indices, t, lo, hi);
      const Tile never = k.constant(DType::f32, {z.heads, 1}, kNever);
      const auto largest = [&](Tile block, Tile) {
        return reduce_max(
            reshape(load(scores, {t, h, block}, {1, z.heads, kBlock}, kNever), {z.heads, kBlock}),
            1);
      };
      const auto score = [&](Tile j, Tile, Tile) {
        return reshape(load(scores.bounded(2, end), {t, h, j}, {1, z.heads, z.keys}, kNever),
                       {z.heads, z.keys});
      };
      k.if_(
          end > lo,
          [&] {
            const Tile first = lo / kBlock * kBlock / keys;  // part of this block
            const View tops = part_top.bounded(1, first);
            const auto before =
                k.for_range(0, first, kPartsAStep, lang::carry(never), [&](Tile s, Tile most) {
                  const Tile top = load(tops, {t, s, h, 0}, {kPartsAStep, z.heads, 1}, kNever);
                  return lang::carry(max(most, reshape(reduce_max(top, 0), {z.heads, 1})));
                });
            const Partial p = attend(k, z, kv, indices, t, lo, end, before[0], score, largest);
            store(part_max, {t, split, h, 0}, p.max);
            store(part_sum, {t, split, h, 0}, p.sum);
            store(part_rows, {t, split, h, 0}, p.rows);
          },
          [&] {  // nothing to add: sum and rows stay unwritten
            store(part_max, {t, split, h, 0}, never);
          });
    };
    const auto part_args =
        with_rows({b.tensor("indices"), scores.with_access(Access::kRead),
                   part_top.with_access(Access::kRead), part_max.with_access(Access::kWrite),
                   part_sum.with_access(Access::kWrite), part_rows.with_access(Access::kWrite)});
    if (b.has("kv"))
      b.kernel("part", grid, part_args,
               [part](KernelBuilder& k, View kv, View indices, View scores, View top, View most,
                      View sum, View rows) {
                 part(k, Rows{.kv = kv}, indices, scores, top, most, sum, rows);
               });
    else
      b.kernel("part_quantised", grid, part_args,
               [part](KernelBuilder& k, View codes, View rope, View scales, View indices,
                      View scores, View top, View most, View sum, View rows) {
                 part(k, Rows{{}, codes, rope, scales, true}, indices, scores, top, most, sum,
                      rows);
               });
    plan_join(b, z, part_max.with_access(Access::kRead), part_sum.with_access(Access::kRead),
              part_rows.with_access(Access::kRead));
  }

  static void plan_join(PlanBuilder& b, const Sizes& z, const Arg& part_max, const Arg& part_sum,
                        const Arg& part_rows) {
    // Parts that are read at once: each step waits for memory.
    const int64_t parts = has_matrix_unit(b) ? 8 : 1;
    const int64_t heads = std::clamp<int64_t>(b.caps().program_grain / z.width / parts, 1, z.heads);
    b.kernel(
        "join", {(b.dim("H") + heads - 1) / heads, b.dim("T")},
        {part_max, part_sum, part_rows, b.tensor("sink"), b.tensor("out")},
        [=](KernelBuilder& k, View part_max, View part_sum, View part_rows, View sink, View out) {
          const Tile h = k.program_id(0) * heads, t = k.program_id(1);
          const auto max_of = [&](Tile s, int64_t count) {
            return load(part_max, {t, s, h, 0}, {count, heads, 1}, kNever);
          };
          // The maximum, and one past the last part that has keys: a context often ends early in
          // its capacity.
          const Tile max0 = k.constant(DType::f32, {heads, 1}, kNever);
          const auto [most, used] = k.for_range(
              0, part_max.extent(1), kPartsAStep, lang::carry(max0, k.constant(DType::i32, {}, 0)),
              [&](Tile s, Tile most, Tile used) {
                const Tile part = max_of(s, kPartsAStep);
                const Tile number = k.iota({kPartsAStep, 1, 1}, 0) + cast(s, DType::i32) + 1;
                const Tile last = reshape(select(part > kNever, number, 0), {kPartsAStep * heads});
                return lang::carry(max(most, reshape(reduce_max(part, 0), {heads, 1})),
                                   max(used, reshape(reduce_max(last, 0), {})));
              });
          const Tile sum0 = k.zeros(DType::f32, {heads, 1}),
                     rows0 = k.zeros(DType::f32, {heads, z.width});
          const Tile top = most;
          auto all = k.for_range(
              0, cast(used, DType::i64), parts, lang::carry(sum0, rows0),
              [&](Tile s, Tile sum, Tile rows) {
                const Tile part = max_of(s, parts), empty = part == kNever;
                const Tile factor = above(part, reshape(top, {1, heads, 1}));
                const auto add = [&](const View& view, int64_t cols, Tile to) {
                  const Tile more = load(view, {t, s, h, 0}, {parts, heads, cols}) * factor;
                  return to + reshape(reduce_sum(select(empty, 0.0, more), 0), {heads, cols});
                };
                return lang::carry(add(part_sum, 1, sum), add(part_rows, z.width, rows));
              });
          store(out, {t, h, 0},
                finished({top, all[0], all[1]}, reshape(load(sink, {h}, {heads}), {heads, 1}),
                         z.dtype));
        });
  }

  static double bf16(double value) { return decode_bf16(encode_bf16(value)); }

  /// The largest score of each entry's block and all blocks before it.
  static std::vector<double> largest_so_far(const std::vector<double>& score) {
    std::vector<double> largest(score.size());
    double most = kNever;
    for (size_t first = 0; first < score.size(); first += kBlock) {
      const size_t end = std::min(score.size(), first + kBlock);
      most = std::max(most, *std::max_element(score.begin() + first, score.begin() + end));
      std::fill(largest.begin() + first, largest.begin() + end, most);
    }
    return largest;
  }

  /// Whether f32 may round `p` otherwise: its distance from a tie, in half steps of bf16.
  static bool is_near_tie(double p) {
    const double rounded = bf16(p), half_step = std::ldexp(1.0, std::ilogb(p) - 8);
    return p > 0 && std::abs(p - rounded) / half_step > 0.99;
  }

  /// [R, D]
  static std::vector<double> decoded_rows(const Reference& r) {
    const int64_t R = r.dim("R"), D = r.dim("D");
    const QuantisedRow layout{D};
    std::vector<double> rows;
    rows.reserve(static_cast<size_t>(R * D));
    for (int64_t row = 0; row < R; ++row) {
      const auto byte = [&](int64_t at) { return r.in("kv_quantised").at({row, at}); };
      for (int64_t d = 0; d < D; ++d)
        rows.push_back(r.has("kv") ? r.in("kv").at({row, d}) : layout.decoded(byte, d));
    }
    return rows;
  }

  static void reference(const Reference& r) {
    const int64_t H = r.dim("H"), D = r.dim("D"), N = r.dim("N");
    const bool narrow = r.problem().dtype("out") == DType::bf16;
    const HostTensor &q = r.in("q"), &indices = r.in("indices");
    const auto rows = decoded_rows(r);
    const auto kv = [&](int64_t row, int64_t d) { return rows[static_cast<size_t>(row * D + d)]; };
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      std::vector<int64_t> row(static_cast<size_t>(N));
      for (int64_t j = 0; j < N; ++j) row[j] = static_cast<int64_t>(indices.at({t, j}));
      for (int64_t h = 0; h < H; ++h) {
        std::vector<double> score(row.size(), kNever);
        double most = kNever;
        for (size_t j = 0; j < row.size(); ++j) {
          if (row[j] < 0) continue;
          double dot = 0;
          for (int64_t d = 0; d < D; ++d) dot += q.at({t, h, d}) * kv(row[j], d);
          score[j] = dot * r.attribute("scale");
          most = std::max(most, score[j]);
        }
        if (most == kNever) {
          for (int64_t d = 0; d < D; ++d) r.out("out").set({t, h, d}, 0);
          continue;
        }
        double denominator = std::exp(r.in("sink").at({h}) - most);
        for (double s : score) denominator += std::exp(s - most);
        const std::vector<double> largest = largest_so_far(score);
        const auto weight = [&](size_t j) { return std::exp(score[j] - largest[j]); };
        bool sharp = narrow;
        for (size_t j = 0; j < row.size() && sharp; ++j)
          sharp = row[j] < 0 || !is_near_tie(weight(j));
        for (int64_t d = 0; d < D; ++d) {
          double sum = 0, magnitude = 0;
          for (size_t j = 0; j < row.size(); ++j) {
            if (row[j] < 0) continue;
            const double p = narrow ? bf16(weight(j)) : weight(j);
            const double term = p * std::exp(largest[j] - most) * kv(row[j], d);
            sum += term;
            magnitude += std::abs(term);
          }
          r.out("out").set({t, h, d}, sum / denominator,
                           magnitude / denominator / (sharp ? 32 : 1));
        }
      }
    }
  }

  /// Scores 0 (each 16th entry) and s < 0 with exp(s) nearly half a step of bf16 away from its
  /// neighbour: rounding p for the sum of rows, or not rounding it, or rounding it for the row sum
  /// too, all differ.
  static void fill_rounding(Inputs& in) {
    const int64_t D = in.problem().dim("D"), R = in.problem().dim("R");
    double s = -0.5;
    auto off = [&] {  // in half steps of numbers in [0.5, 1)
      return std::abs(std::exp(s) - bf16(std::exp(s))) * 0x1p9;
    };
    while (off() < 0.85 || off() > 0.95) s -= 0x1p-8;
    for (int64_t i = 0; i < in.tensor("q").numel(); ++i)
      in.tensor("q").set_flat(i, i % D == 0 ? 1 / in.problem().attribute("scale") : 0);
    for (int64_t i = 0; i < R * D; ++i)
      in.tensor("kv").set_flat(i, i % D != 0 ? in.uniform(0.5, 1.5) : i == 0 ? 0 : s);
    for (int64_t i = 0; i < in.tensor("indices").numel(); ++i)
      in.tensor("indices").set_flat(i,
                                    i % 16 == 0 ? 0.0 : static_cast<double>(in.integer(1, R - 1)));
  }

  static void fill(Inputs& in) {
    const Problem& p = in.problem();
    const std::string& note = in.test_case().note;
    const int64_t R = p.dim("R"), N = p.dim("N"), D = p.dim("D");
    // Scores of standard deviation 2.5 whatever D and the scale: order 1 to 10, so that they
    // decide.
    const double spread = 2.5 / (p.attribute("scale") * std::sqrt(static_cast<double>(D)));
    HostTensor &q = in.tensor("q"), &indices = in.tensor("indices"), &sink = in.tensor("sink");
    for (int64_t i = 0; i < q.numel(); ++i) q.set_flat(i, in.normal(spread));
    for (int64_t h = 0; h < sink.numel(); ++h)
      sink.set({h}, note == "sink dominates" ? 12 + in.normal() : in.normal(2));
    if (note == "no sink")
      for (int64_t h = 0; h < sink.numel(); ++h) sink.set({h}, kNever);
    std::vector<int64_t> order(static_cast<size_t>(R));
    for (int64_t i = 0; i < R; ++i) order[static_cast<size_t>(i)] = i;
    for (int64_t t = 0; t < p.dim("T"); ++t) {
      std::shuffle(order.begin(), order.end(), in.random());
      for (int64_t j = 0; j < N; ++j) {
        bool unused = j >= R;
        if (note == "holes") unused = unused || j % 3 == 1 || j < 70;  // the first blocks are empty
        if (note == "empty row" || note == "no sink") unused = unused || t == 1;
        if (note == "short") unused = unused || j >= 5 + t;
        indices.set({t, j}, unused ? -1.0 : static_cast<double>(order[static_cast<size_t>(j)]));
      }
    }
    if (note == "rounding") fill_rounding(in);
    // Codes have a standard deviation of 64.
    for (int64_t row = 0; p.has("kv_quantised") && row < R; ++row)
      QuantisedRow{D}.fill(in, in.tensor("kv_quantised"), row, -6);
  }

  static std::vector<Case> cases() {
    auto use = [](int64_t T, int64_t H, int64_t D, int64_t R, int64_t N, std::string note = {},
                  DType dtype = DType::bf16) {
      return Case{.dims = {{"T", T}, {"H", H}, {"D", D}, {"R", R}, {"N", N}},
                  .dtypes = {{"q", dtype}, {"kv", dtype}, {"out", dtype}},
                  .attributes = {{"scale", 1 / std::sqrt(static_cast<double>(D))}},
                  .note = std::move(note)};
    };
    std::vector<Case> list = {
        use(1, 64, 512, 100, 70),
        use(2, 8, 512, 150, 128),
        use(1, 16, 128, 700, 640, "split"),
        use(3, 8, 64, 300, 300, "split"),
        use(9, 8, 64, 300, 257),
        use(2, 8, 64, 300, 250, "holes"),
        use(10, 4, 64, 300, 130, "holes"),
        use(3, 8, 64, 400, 260, "empty row"),
        use(9, 8, 64, 100, 65, "empty row"),
        use(2, 8, 64, 400, 390, "short"),
        use(2, 8, 64, 200, 192, "sink dominates"),
        use(12, 8, 64, 200, 100, "sink dominates"),
        use(2, 8, 64, 90, 80, "no sink"),
        use(1, 4, 64, 40, 32, "rounding"),
        use(2, 8, 64, 100, 320, "rounding"),
        use(9, 4, 64, 100, 144, "rounding"),
        use(2, 6, 48, 90, 33, "odd sizes"),
        use(1, 4, 64, 1, 1),
        use(0, 4, 64, 10, 10),
        use(2, 4, 64, 5, 0, "no index"),
    };
    for (const Case& c : {use(1, 8, 512, 200, 190, "short", DType::f32),
                          use(3, 8, 128, 300, 260, "holes", DType::f32),
                          use(9, 4, 64, 100, 144, "rounding", DType::f32),
                          use(9, 6, 48, 100, 65, "empty row", DType::f32)})
      list.push_back(c);
    const auto quantised = [](Case c) {
      c.dims["B"] = QuantisedRow{c.dims["D"]}.bytes();
      c.dtypes.erase("kv");
      c.dtypes["kv_quantised"] = DType::u8;
      return c;
    };
    for (const Case& c : {use(1, 8, 512, 100, 70), use(2, 8, 128, 300, 260, "holes"),
                          use(9, 4, 128, 100, 65, "empty row")})
      list.push_back(quantised(c));
    for (auto [T, N] : {std::pair<int64_t, int64_t>{1, 128},
                        {1, 640},
                        {1, 1152},
                        {1, 8320},
                        {4, 640},
                        {8, 640},
                        {64, 640},
                        {512, 640},
                        {4096, 640}}) {
      Case c = use(T, 64, 512, 16384, N);
      c.bench = true;
      c.test = false;
      list.push_back(c);
      if (N == 640) list.push_back(quantised(c));
    }
    return list;
  }

  /// bf16(p) is off by 2^-8 p at most; the scores' own errors are far smaller: with |score| up to
  /// 20 and D products each, p is off by 2^-17 p.
  static Tolerance tolerance(const Problem& p) {
    return {.scaled = p.dtype("out") == DType::bf16 ? 1.05 * 0x1p-8 : 0x1p-16};
  }

  static Cost cost(const Problem& p) {
    const double keys = static_cast<double>(p.dim("T")) * static_cast<double>(p.dim("N"));
    const auto H = static_cast<double>(p.dim("H")), D = static_cast<double>(p.dim("D"));
    const double rows = std::min(keys, static_cast<double>(p.dim("R")));
    const double row_bytes =
        p.has("kv") ? D * bits(p.dtype("kv")) / 8 : static_cast<double>(p.dim("B"));
    return {.bytes_read = rows * row_bytes + 4 * keys + static_cast<double>(p.tensor("q").bytes()),
            .bytes_written = static_cast<double>(p.tensor("out").bytes()),
            .flops = 4 * keys * H * D};
  }
};

}  // namespace tessera::ops
