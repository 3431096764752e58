// SPDX-License-Identifier: Apache-2.0
// Scores of the compressed entries for a token, by the indexer's light heads.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/base/float_formats.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/matrix_tiles.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct IndexerScores {
  static Signature signature() {
    return {
        .name = "indexer_scores",
        .family = "indexer",
        .rows = "28,29,30",
        .summary = "weighted sum over heads of relu(q . k)",
        .formula =
            "scores[t,c] = rnd(sum_h rnd(relu(rnd(q[t,h] . k[s,c])) w'[t,h])), dots and sum in "
            "f32; rnd rounds "
            "to the dtype of scores (bf16: the official roundings; f32: none); w' = w, or w "
            "weight_scale rounded "
            "to the dtype of w; s = sequence[t], or 0. With positions: -inf where c >= "
            "(positions[t] + 1) / "
            "ratio.\n"
            "q [T,H,D], k [S,R,D] with R >= C, w [T,H], positions and sequence i32 [T], scores "
            "[T,C].",
        .source =
            "model.py:420 index_score = einsum('bshd,btd->bsht').relu_() * weights, sum over "
            "heads; "
            "model.py:418 weights, model.py:425 mask",
        .tensors = {in("q", "T,H,D", {DType::bf16, DType::f32}),
                    in("k", "S,R,D", {DType::bf16, DType::f32}),
                    in("w", "T,H", {DType::bf16, DType::f32}),
                    optional(in("positions", "T", {DType::i32})),
                    optional(in("sequence", "T", {DType::i32})),
                    out("scores", "T,C", {DType::bf16, DType::f32})},
        .attributes = {{"ratio", 4}, {"weight_scale", 1}},
        .dynamic_dims = {"T", "C", "S", "R"},
    };
  }

  /// Static: tokens of a program, as many as fill a product with their heads. A product's columns
  /// are [heads, rows], so that the sum over heads adds vectors; for the matrix unit [rows, heads],
  /// as q is. A program scores `blocks` times `keys` entries.
  struct Sizes {
    int64_t rows, heads, width, keys, blocks;
    DType rounding;
    bool matrices;
    int64_t columns() const { return heads * rows; }
  };

  /// Of a prompt a program has many, so that reading its queries counts little, and fewer the more
  /// tokens share it, so that there are programs for all cores.
  static int64_t blocks_of(bool matrices, int64_t class_of_T, int64_t rows) {
    if (matrices && class_of_T == 1) return 2;
    return matrices && class_of_T > 64 ? std::clamp<int64_t>(128 / rows, 8, 32) : 8;
  }

  static void plan(PlanBuilder& b) {
    const int64_t heads = pow2_ceil(b.dim("H")), class_of_T = b.m_class("T");
    const bool wide =
        b.dtype("q") == DType::f32 || b.dtype("k") == DType::f32 || b.caps().wide_products;
    const DType operand = wide ? DType::f32 : DType::bf16;
    // The matrix unit takes 64 entries at once, and up to 256 columns.
    const bool matrices = !wide && has_matrix_tile(b.caps());
    const int64_t columns = matrices ? b.caps().matrix_tile[3].n : b.caps().dot(64).m;
    const int64_t rows = std::clamp<int64_t>(columns / heads, 1, class_of_T);
    const Sizes z{.rows = rows,
                  .heads = heads,
                  .width = pow2_ceil(b.dim("D")),
                  .keys = matrices ? b.caps().matrix_tile[2].m : b.caps().attention_keys,
                  .blocks = blocks_of(matrices, class_of_T, rows),
                  .rounding = b.dtype("scores"),
                  .matrices = matrices};
    if (matrices) return plan_scores(b, z, b.tensor("q"), operand);
    const int64_t blocks = programs_for(b.dim("T"), z.rows);
    const Arg turned =
        b.workspace("turned", operand, {blocks, z.width, z.columns()}, {true, false, false});
    b.kernel("turn", {blocks}, {b.tensor("q"), turned.with_access(Access::kWrite)},
             [=](KernelBuilder& k, View q, View turned) {
               const Tile block = k.program_id(0);
               const Tile own = load(q, {block * z.rows, 0, 0}, {z.rows, z.heads, z.width});
               store(turned, {block, 0, 0},
                     reshape(transpose(cast(own, operand), {2, 1, 0}), {1, z.width, z.columns()}));
             });
    plan_scores(b, z, turned.with_access(Access::kRead), operand);
  }

  /// `queries`: q, or the columns of programs.
  static void plan_scores(PlanBuilder& b, const Sizes& z, const Arg& queries, DType operand) {
    const int64_t span = z.keys * z.blocks;
    const bool masked = b.has("positions"), several = b.has("sequence");
    const auto ratio = static_cast<int64_t>(b.attribute("ratio"));
    const double weight_scale = b.attribute("weight_scale");
    const DType weight_dtype = b.dtype("w");
    // Tables that are left out have w in their place, unread.
    // One after the other, programs score the same entries for all tokens.
    b.kernel("scores", {programs_for(b.dim("T"), z.rows), programs_for(b.dim("C"), span)},
             {queries, b.tensor("k"), b.tensor("w"), b.tensor(masked ? "positions" : "w"),
              b.tensor(several ? "sequence" : "w"), b.tensor("scores")},
             [=](KernelBuilder& k, View q, View key, View w, View positions, View sequences,
                 View scores) {
               const Tile block = k.program_id(0), t = block * z.rows;
               const Tile first = k.program_id(1) * span, count = scores.extent(1);
               const auto of_rows = [&](const View& table) {
                 return reshape(load(table, {t}, {z.rows}, -1), {z.rows, 1});
               };
               // Entries each token may see, and those that any of them does.
               const Tile all = cast(count, DType::i32);
               const Tile limit = masked
                                      ? min((of_rows(positions) + 1) / static_cast<int>(ratio), all)
                                      : broadcast(all, {z.rows, 1});
               const Tile furthest = cast(reshape(reduce_max(limit, 0), {}), DType::i64);
               const Tile end = min(first + span, count), seen = max(first, min(end, furthest));
               const auto score = [&](Tile sequence, auto keep) {
                 k.if_(seen > first, [&] {
                   const Tile queries = queries_of(q, block, z);
                   const Tile weight = weights(w, t, z, weight_scale, weight_dtype);
                   k.for_range(first, seen, z.keys, [&](Tile c) {
                     const Tile keys = load(key, {sequence, c, 0}, {z.keys, z.width});
                     const Tile sum = weighted(k, cast(keys, operand), queries, weight, z);
                     const Tile visible = k.iota({1, z.keys}, 1) + cast(c, DType::i32) < limit;
                     keep(c, cast(select(visible, sum, kHidden), z.rounding));
                   });
                 });
                 // Blocks nobody may see are not computed.
                 const Tile hidden = k.constant(DType::f32, {z.rows, z.keys}, kHidden);
                 k.for_range(first + ceil_div(seen - first, z.keys) * z.keys, end, z.keys,
                             [&](Tile c) { keep(c, cast(hidden, z.rounding)); });
               };
               const auto keep_all = [&](Tile c, Tile tile) { store(scores, {t, c}, tile); };
               if (!several) return score(k.index(0), keep_all);
               if (z.rows == 1)
                 return score(cast(load_scalar(sequences, {t}), DType::i64), keep_all);
               // Mostly tokens of one sequence; else each of the sequences gets its rows.
               const Tile sequence = of_rows(sequences);
               const auto scalar = [](Tile one) { return cast(reshape(one, {}), DType::i64); };
               const Tile last = scalar(reduce_max(sequence, 0)),
                          least = scalar(reduce_min(select(sequence >= 0, sequence, 1 << 30), 0));
               k.if_(
                   least == last, [&] { score(least, keep_all); },
                   [&] {
                     k.for_range(least, last + 1, 1, [&](Tile which) {
                       const Tile its = sequence == cast(which, DType::i32);
                       score(which, [&](Tile c, Tile tile) {
                         store_masked(scores, {t, c}, tile, broadcast(its, {z.rows, z.keys}));
                       });
                     });
                   });
             });
  }

  /// [width, columns], or for the matrix unit [columns, width].
  static Tile queries_of(const View& q, Tile block, const Sizes& z) {
    if (!z.matrices) return load(q, {block, 0, 0}, {z.width, z.columns()});
    return reshape(load(q, {block * z.rows, 0, 0}, {z.rows, z.heads, z.width}),
                   {z.columns(), z.width});
  }

  static Tile rounded(Tile x, DType to) { return to == DType::f32 ? x : round_to(x, to); }

  /// Of the heads of tokens from t on [1, columns], f32.
  static Tile weights(const View& w, Tile t, const Sizes& z, double scale, DType dtype) {
    const Tile own = to_f32(load(w, {t, 0}, {z.rows, z.heads}));
    const bool as_they_are = z.rows == 1 || z.matrices;
    const Tile all = reshape(as_they_are ? own : transpose(own, {1, 0}), {1, z.columns()});
    return scale == 1 ? all : rounded(all * scale, dtype);
  }

  /// Scores of keys [keys, width] for each token [rows, keys].
  static Tile weighted(KernelBuilder& k, Tile keys, Tile queries, Tile weight, const Sizes& z) {
    const Tile none = k.zeros(DType::f32, {z.keys, z.columns()});
    const Tile products = z.matrices ? dot(keys, queries, none) : dot_kn(keys, queries, none);
    const Tile terms = rounded(max(rounded(products, z.rounding), 0.0) * weight, z.rounding);
    if (z.rows == 1) return reshape(reduce_sum(terms, 1), {1, z.keys});
    const Tile sums = z.matrices ? reduce_sum(reshape(terms, {z.keys, z.rows, z.heads}), 2)
                                 : reduce_sum(reshape(terms, {z.keys, z.heads, z.rows}), 1);
    return transpose(reshape(sums, {z.keys, z.rows}), {1, 0});
  }

  static constexpr double kHidden = -std::numeric_limits<double>::infinity();

  static void reference(const Reference& r) {
    const int64_t H = r.dim("H"), D = r.dim("D");
    const bool round = r.problem().dtype("scores") == DType::bf16;
    auto rounded = [&](double v) {
      return round ? static_cast<double>(decode_bf16(encode_bf16(v))) : v;
    };
    const auto weight = [&](int64_t t, int64_t h) {
      const double w = r.in("w").at({t, h}), scaled = w * r.attribute("weight_scale");
      const bool narrow = r.problem().dtype("w") == DType::bf16;
      return narrow ? static_cast<double>(decode_bf16(encode_bf16(scaled))) : scaled;
    };
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const int64_t sequence =
          r.has("sequence") ? static_cast<int64_t>(r.in("sequence").at({t})) : 0;
      for (int64_t c = 0; c < r.dim("C"); ++c) {
        if (r.has("positions") && c >= (static_cast<int64_t>(r.in("positions").at({t})) + 1) /
                                           static_cast<int64_t>(r.attribute("ratio"))) {
          r.out("scores").set({t, c}, kHidden);
          continue;
        }
        double sum = 0, magnitude = 0;
        for (int64_t h = 0; h < H; ++h) {
          double s = 0, size = 0;
          for (int64_t d = 0; d < D; ++d) {
            const double product = r.in("q").at({t, h, d}) * r.in("k").at({sequence, c, d});
            s += product;
            size += std::abs(product);
          }
          sum += rounded(std::max(0.0, rounded(s)) * weight(t, h));
          magnitude += size * std::abs(weight(t, h));
        }
        r.out("scores").set({t, c}, sum, magnitude);
      }
    }
  }

  static void fill(Inputs& in) {
    // Mostly positive weights: sums do not cancel, so a step of the output is a measure for errors.
    HostTensor& w = in.tensor("w");
    for (int64_t i = 0; i < w.numel(); ++i) w.set_flat(i, in.uniform(-0.1, 1));
    const int64_t sequences = in.problem().dim("S");
    for (int64_t t = 0; in.problem().has("sequence") && t < in.problem().dim("T"); ++t)
      in.tensor("sequence")
          .set({t}, in.test_case().note == "prompt" ? static_cast<double>(t / 40)
                                                    : static_cast<double>((5 * t + 2) % sequences));
    if (!in.problem().has("positions")) return;
    HostTensor& positions = in.tensor("positions");
    const auto ratio = static_cast<int64_t>(in.problem().attribute("ratio"));
    const int64_t last = ratio * in.problem().dim("C") - 1;
    for (int64_t t = 0; t < positions.numel(); ++t)
      positions.set({t}, static_cast<double>(t == 0   ? last
                                             : t == 1 ? -1
                                                      : in.integer(0, last + 8)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    // One sequence whose keys fill their cache, unless said otherwise.
    const auto add = [&](Case c) {
      c.dims.try_emplace("S", 1);
      c.dims.try_emplace("R", c.dims["C"]);
      list.push_back(std::move(c));
    };
    const DType bf16 = DType::bf16, f32 = DType::f32;
    const std::map<std::string, DType> native = {
        {"q", bf16}, {"k", bf16}, {"w", bf16}, {"scores", bf16}};
    const std::map<std::string, DType> plain = {
        {"q", f32}, {"k", f32}, {"w", f32}, {"scores", f32}};
    auto masked = [](std::map<std::string, DType> dtypes) {
      dtypes["positions"] = DType::i32;
      return dtypes;
    };
    add({.dims = {{"T", 1}, {"H", 64}, {"D", 128}, {"C", 70}}, .dtypes = native});
    add({.dims = {{"T", 3}, {"H", 16}, {"D", 128}, {"C", 300}}, .dtypes = masked(native)});
    add({.dims = {{"T", 2}, {"H", 12}, {"D", 40}, {"C", 65}},
         .dtypes = masked(native),
         .note = "odd sizes"});
    add({.dims = {{"T", 5}, {"H", 4}, {"D", 64}, {"C", 1}}, .dtypes = native});
    add({.dims = {{"T", 2}, {"H", 4}, {"D", 64}, {"C", 0}},
         .dtypes = masked(native),
         .note = "no entry"});
    add({.dims = {{"T", 2}, {"H", 16}, {"D", 128}, {"C", 130}}, .dtypes = plain});
    add({.dims = {{"T", 4}, {"H", 3}, {"D", 24}, {"C", 33}},
         .dtypes = masked(plain),
         .note = "odd sizes"});
    add({.dims = {{"T", 2}, {"H", 16}, {"D", 128}, {"C", 40}},
         .dtypes = {{"q", bf16}, {"k", bf16}, {"w", bf16}, {"scores", f32}}});
    auto several = [&](std::map<std::string, DType> dtypes) {
      dtypes["sequence"] = DType::i32;
      return masked(dtypes);
    };
    add({.dims = {{"T", 5}, {"H", 16}, {"D", 128}, {"C", 90}, {"S", 4}, {"R", 130}},
         .dtypes = several(native),
         .attributes = {{"weight_scale", 0.0220970869}}});
    add({.dims = {{"T", 3}, {"H", 5}, {"D", 128}, {"C", 300}, {"S", 2}, {"R", 301}},
         .dtypes = several(plain),
         .attributes = {{"weight_scale", 0.3}}});
    add({.dims = {{"T", 41}, {"H", 4}, {"D", 128}, {"C", 300}, {"S", 3}, {"R", 301}},
         .dtypes = several(native),
         .attributes = {{"weight_scale", 0.0220970869}},
         .note = "sequences in turn"});
    add({.dims = {{"T", 70}, {"H", 4}, {"D", 128}, {"C", 330}, {"S", 2}, {"R", 400}},
         .dtypes = several(native),
         .note = "prompt"});
    for (int64_t C : {256, 2048, 16384, 65536, 262144})
      add(bench_case({{"T", 1}, {"H", 64}, {"D", 128}, {"C", C}}, native));
    add(bench_case({{"T", 512}, {"H", 64}, {"D", 128}, {"C", 512}}, native));
    add(bench_case({{"T", 4096}, {"H", 64}, {"D", 128}, {"C", 16384}}, native));
    add(bench_case({{"T", 512}, {"H", 4}, {"D", 128}, {"C", 16384}}, native));
    return list;
  }

  /// f32: D + H roundings. bf16: the same before the last rounding, unless a dot rounds to its
  /// other bf16 neighbour; that moves one term of many by a step and the sum, seldom, by one.
  static Tolerance tolerance(const Problem& p) {
    const bool exact = p.dtype("scores") == DType::f32;
    return {.scaled = static_cast<double>(p.dim("D") / 8 + p.dim("H") + 16) * 0x1p-24,
            .one_step_share = exact ? 0.0 : 0.01};
  }

  static Cost cost(const Problem& p) {
    Cost cost{
        .bytes_written = static_cast<double>(p.tensor("scores").bytes()),
        .flops = 2.0 * static_cast<double>(p.dim("T") * p.dim("C") * p.dim("H") * p.dim("D"))};
    for (const char* name : {"q", "w"})
      cost.bytes_read += static_cast<double>(p.tensor(name).bytes());
    cost.bytes_read += static_cast<double>(size_in_bytes(p.dtype("k"), p.dim("C") * p.dim("D")));
    return cost;
  }
};

}  // namespace tessera::ops
