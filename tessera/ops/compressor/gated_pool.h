// SPDX-License-Identifier: Apache-2.0
// The compressor's pooling without overlap: one entry for each window of tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "tessera/ops/compressor/kernels/softmax_mean.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct GatedPool {
  static Signature signature() {
    return {
        .name = "gated_pool",
        .family = "compressor",
        .rows = "22,23",
        .summary =
            "Softmax-weighted mean of the tokens of a window, for each dimension on its own.",
        .formula =
            "p[c, r, d] = softmax over r of (score[c, r, d] + ape[r, d]); y[c, d] = sum_r p[c, r, "
            "d] kv[c, r, "
            "d]\n"
            "kv, score [C, R, D] f32 (R = 128 tokens a window), ape [R, D] f32 (left out: the "
            "scores have it "
            "already), y [C, D]; f32 inside, rounded once",
        .source = "model.py:316-345",
        .tensors = {in("kv", "C,R,D", {DType::f32}), in("score", "C,R,D", {DType::f32}),
                    out("y", "C,D", {DType::bf16, DType::f32}),
                    optional(in("ape", "R,D", {DType::f32}))},
        .dynamic_dims = {"C"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D");
    const bool one_walk = b.caps().gemv_rows < 16;  // three sums a position
    const int64_t tile = b.caps().vector_tile / (one_walk ? 2 : 1);
    const int64_t cols = std::min(tile, pow2_ceil(width));
    const int64_t rows = std::clamp<int64_t>(tile / cols, 1, pow2_ceil(b.dim("R")));
    const bool has_ape = b.has("ape");
    const DType to = b.dtype("y");
    const auto body = [=](KernelBuilder& k, View kv, View score, View y, View ape) {
      const Tile col = k.program_id(0) * cols, window = k.program_id(1);
      const TileShape shape = {rows, cols};
      const auto walk = [&](auto carried, auto step) {
        return k.for_range(0, kv.extent(1), rows, carried, [&](Tile slot, auto... c) {
          const auto logit = [&] {
            const Tile s = load(score, {window, slot, col}, shape, compressor::kNoScore);
            return has_ape ? s + load(ape, {slot, col}, shape) : s;
          };
          const auto value = [&] { return load(kv, {window, slot, col}, shape); };
          return step(logit, value, lang::carry(c...));
        });
      };
      const Tile mean = one_walk ? compressor::softmax_mean_in_one_walk(k, shape, walk)
                                 : compressor::softmax_mean(k, shape, walk);
      store(y, {window, col}, cast(mean, to));
    };
    const std::vector<int64_t> grid = {programs_for(width, cols), b.dim("C")};
    if (has_ape)
      b.kernel("windows_ape", grid,
               {b.tensor("kv"), b.tensor("score"), b.tensor("y"), b.tensor("ape")}, body);
    else
      b.kernel(
          "windows", grid, {b.tensor("kv"), b.tensor("score"), b.tensor("y")},
          [body](KernelBuilder& k, View kv, View score, View y) { body(k, kv, score, y, {}); });
  }

  static void reference(const Reference& r) {
    for (int64_t c = 0; c < r.dim("C"); ++c)
      for (int64_t d = 0; d < r.dim("D"); ++d) {
        const auto logit = [&](int64_t s) {
          return r.in("score").at({c, s, d}) + (r.has("ape") ? r.in("ape").at({s, d}) : 0);
        };
        double top = -INFINITY, weights = 0, sum = 0, magnitude = 0;
        for (int64_t s = 0; s < r.dim("R"); ++s) top = std::max(top, logit(s));
        for (int64_t s = 0; s < r.dim("R"); ++s) {
          const double w = std::exp(logit(s) - top);
          weights += w;
          sum += w * r.in("kv").at({c, s, d});
          magnitude += w * std::abs(r.in("kv").at({c, s, d}));
        }
        r.out("y").set({c, d}, sum / weights, magnitude / weights);
      }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types ape = {{"y", DType::bf16}, {"ape", DType::f32}}, plain = {{"y", DType::bf16}};
    const Types f32 = {{"y", DType::f32}, {"ape", DType::f32}};
    return {
        {{{"C", 1}, {"R", 128}, {"D", 512}}, ape, {}, false, true, "ratio 128"},
        {{{"C", 3}, {"R", 128}, {"D", 512}}, f32},
        {{{"C", 1}, {"R", 128}, {"D", 512}}, plain, {}, false, true, "decode: scores have the ape"},
        {{{"C", 17}, {"R", 5}, {"D", 100}}, f32, {}, false, true, "odd sizes"},
        {{{"C", 2}, {"R", 1}, {"D", 3}}, f32},
        {{{"C", 3}, {"R", 130}, {"D", 64}}, f32, {}, false, true, "huge"},
        {{{"C", 2}, {"R", 128}, {"D", 64}}, f32, {}, false, true, "some slots -inf"},
        {{{"C", 0}, {"R", 128}, {"D", 512}}, ape},
        bench_case({{"C", 1}, {"R", 128}, {"D", 512}}, plain),
        bench_case({{"C", 512}, {"R", 128}, {"D", 512}}, ape, {}, "256 MB"),
    };
  }

  static void fill(Inputs& in) {
    if (!in.test_case().test) return;
    HostTensor& score = in.tensor("score");
    const std::string& note = in.test_case().note;
    for (int64_t i = 0; i < score.numel(); ++i) {
      // Scores of order 4: a few slots dominate, the rest still counts.
      double s = note == "huge" ? in.normal(1000) : in.normal(4);
      if (note == "some slots -inf" && i % 3 == 1) s = -INFINITY;
      score.set_flat(i, s);
    }
  }

  /// exp of differences up to 60 (huge: 5000, where only the top counts): 4e-6 of the weight; sums
  /// of at most 130 terms.
  static Tolerance tolerance(const Problem&) { return {.scaled = 2e-5}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("C") * p.dim("R") * p.dim("D"));
    return {.bytes_read = 8 * elements + (p.has("ape") ? 4.0 * p.dim("R") * p.dim("D") : 0),
            .bytes_written = static_cast<double>(p.dim("C") * p.dim("D")) * bits(p.dtype("y")) / 8,
            .flops = 6 * elements};
  }
};

}  // namespace tessera::ops
