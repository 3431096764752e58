// SPDX-License-Identifier: Apache-2.0
// Scores of the compressed entries for a token, by the indexer's light heads.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/base/float_formats.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct IndexerScores {
  static Signature signature() {
    return {
        .name = "indexer_scores",
        .family = "indexer",
        .rows = "29,30",
        .summary = "weighted sum over heads of relu(q . k)",
        .formula =
            "scores[t,c] = rnd(sum_h rnd(relu(rnd(q[t,h] . k[c])) w[t,h])), dots and sum in f32; "
            "rnd rounds "
            "to the dtype of scores (bf16: the official roundings; f32: none). With positions: "
            "-inf where "
            "c >= (positions[t] + 1) / ratio. q [T,H,D], k [C,D], w [T,H], positions i32 [T], "
            "scores [T,C].",
        .source =
            "model.py:420 index_score = einsum('bshd,btd->bsht').relu_() * weights, sum over "
            "heads; "
            "model.py:425 mask",
        .tensors = {in("q", "T,H,D", {DType::bf16, DType::f32}),
                    in("k", "C,D", {DType::bf16, DType::f32}),
                    in("w", "T,H", {DType::bf16, DType::f32}),
                    optional(in("positions", "T", {DType::i32})),
                    out("scores", "T,C", {DType::bf16, DType::f32})},
        .attributes = {{"ratio", 4}},
        .dynamic_dims = {"T", "C"},
    };
  }

  /// A program scores kBlocks x attention_keys entries for one token: its q stays where it is.
  static constexpr int64_t kBlocks = 4;

  static void plan(PlanBuilder& b) {
    const int64_t heads = pow2_ceil(b.dim("H")), width = pow2_ceil(b.dim("D"));
    const int64_t keys = b.caps().attention_keys, span = keys * kBlocks;
    const DType rounding = b.dtype("scores");
    const bool wide = b.dtype("q") == DType::f32 || b.dtype("k") == DType::f32;
    const std::vector<int64_t> grid = {(b.dim("C") + span - 1) / span, b.dim("T")};
    // `limit`: entries the token may see.
    auto body = [=](KernelBuilder& k, const View& q, const View& key, const View& w,
                    const View& scores, Tile t, Tile limit) {
      const Tile first = k.program_id(0) * span;
      auto operand = [&](Tile x) { return wide ? cast(x, DType::f32) : x; };
      const Tile left = operand(load(q, {t, 0, 0}, {heads, width}));
      const Tile weight = reshape(cast(load(w, {t, 0}, {heads}), DType::f32), {heads, 1});
      auto rounded = [&](Tile x) { return rounding == DType::f32 ? x : round_to(x, rounding); };
      const Tile end = min(first + span, key.extent(0));
      const Tile seen = max(first, min(end, limit));
      k.for_range(first, seen, keys, [&](Tile c) {
        const Tile right = operand(load(key, {c, 0}, {keys, width}));
        const Tile s = rounded(dot(left, right, k.zeros(DType::f32, {heads, keys})));
        const Tile sum = reduce_sum(rounded(max(s, 0.0) * weight), 0);
        const Tile visible = k.iota({1, keys}, 1) + cast(c, DType::i32) < cast(limit, DType::i32);
        store(scores, {t, c}, cast(select(visible, sum, kHidden), rounding));
      });
      // Blocks nobody may see are not computed.
      k.for_range(first + ceil_div(seen - first, keys) * keys, end, keys, [&](Tile c) {
        store(scores, {t, c}, cast(k.constant(DType::f32, {1, keys}, kHidden), rounding));
      });
    };
    if (b.has("positions")) {
      const auto ratio = static_cast<int64_t>(b.attribute("ratio"));
      b.kernel(
          "scores", grid,
          {b.tensor("q"), b.tensor("k"), b.tensor("w"), b.tensor("positions"), b.tensor("scores")},
          [=](KernelBuilder& k, View q, View key, View w, View positions, View scores) {
            const Tile t = k.program_id(1);
            const Tile limit = (cast(load_scalar(positions, {t}), DType::i64) + 1) / ratio;
            body(k, q, key, w, scores, t, min(limit, key.extent(0)));
          });
    } else {
      b.kernel("scores", grid, {b.tensor("q"), b.tensor("k"), b.tensor("w"), b.tensor("scores")},
               [=](KernelBuilder& k, View q, View key, View w, View scores) {
                 body(k, q, key, w, scores, k.program_id(1), key.extent(0));
               });
    }
  }

  static constexpr double kHidden = -std::numeric_limits<double>::infinity();

  static void reference(const Reference& r) {
    const int64_t H = r.dim("H"), D = r.dim("D");
    const bool round = r.problem().dtype("scores") == DType::bf16;
    auto rounded = [&](double v) {
      return round ? static_cast<double>(decode_bf16(encode_bf16(v))) : v;
    };
    for (int64_t t = 0; t < r.dim("T"); ++t)
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
            const double product = r.in("q").at({t, h, d}) * r.in("k").at({c, d});
            s += product;
            size += std::abs(product);
          }
          sum += rounded(std::max(0.0, rounded(s)) * r.in("w").at({t, h}));
          magnitude += size * std::abs(r.in("w").at({t, h}));
        }
        r.out("scores").set({t, c}, sum, magnitude);
      }
  }

  static void fill(Inputs& in) {
    // Mostly positive weights: sums do not cancel, so a step of the output is a measure for errors.
    HostTensor& w = in.tensor("w");
    for (int64_t i = 0; i < w.numel(); ++i) w.set_flat(i, in.uniform(-0.1, 1));
    if (!in.problem().has("positions")) return;
    HostTensor& positions = in.tensor("positions");
    const auto ratio = static_cast<int64_t>(in.problem().attribute("ratio"));
    const int64_t last = ratio * in.problem().dim("C") - 1;
    for (int64_t t = 0; t < positions.numel(); ++t)
      positions.set({t}, static_cast<double>(t == 0 ? last : t == 1 ? 0 : in.integer(0, last + 8)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    const DType bf16 = DType::bf16, f32 = DType::f32;
    const std::map<std::string, DType> native = {
        {"q", bf16}, {"k", bf16}, {"w", bf16}, {"scores", bf16}};
    const std::map<std::string, DType> plain = {
        {"q", f32}, {"k", f32}, {"w", f32}, {"scores", f32}};
    auto masked = [](std::map<std::string, DType> dtypes) {
      dtypes["positions"] = DType::i32;
      return dtypes;
    };
    list.push_back({.dims = {{"T", 1}, {"H", 64}, {"D", 128}, {"C", 70}}, .dtypes = native});
    list.push_back(
        {.dims = {{"T", 3}, {"H", 16}, {"D", 128}, {"C", 300}}, .dtypes = masked(native)});
    list.push_back({.dims = {{"T", 2}, {"H", 12}, {"D", 40}, {"C", 65}},
                    .dtypes = masked(native),
                    .note = "odd sizes"});
    list.push_back({.dims = {{"T", 5}, {"H", 4}, {"D", 64}, {"C", 1}}, .dtypes = native});
    list.push_back({.dims = {{"T", 2}, {"H", 4}, {"D", 64}, {"C", 0}},
                    .dtypes = masked(native),
                    .note = "no entry"});
    list.push_back({.dims = {{"T", 2}, {"H", 16}, {"D", 128}, {"C", 130}}, .dtypes = plain});
    list.push_back({.dims = {{"T", 4}, {"H", 3}, {"D", 24}, {"C", 33}},
                    .dtypes = masked(plain),
                    .note = "odd sizes"});
    list.push_back({.dims = {{"T", 2}, {"H", 16}, {"D", 128}, {"C", 40}},
                    .dtypes = {{"q", bf16}, {"k", bf16}, {"w", bf16}, {"scores", f32}}});
    for (int64_t C : {256, 2048, 16384, 262144})
      list.push_back(bench_case({{"T", 1}, {"H", 64}, {"D", 128}, {"C", C}}, native));
    list.push_back(bench_case({{"T", 512}, {"H", 64}, {"D", 128}, {"C", 512}}, native));
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
    for (const char* name : {"q", "k", "w"})
      cost.bytes_read += static_cast<double>(p.tensor(name).bytes());
    return cost;
  }
};

}  // namespace tessera::ops
