// SPDX-License-Identifier: Apache-2.0
// The compressor's pooling with overlap: each entry sees its own window and the one before.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "tessera/ops/compressor/kernels/softmax_mean.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct GatedPoolOverlap {
  static constexpr int64_t kRatio = 4;

  static Signature signature() {
    return {
        .name = "gated_pool_overlap",
        .family = "compressor",
        .rows = "22,24",
        .summary =
            "Gated pool over eight slots: four tokens of the previous window, four of this one.",
        .formula =
            "slots of window c, dimension d: (kv, score + ape)[c-1, r, d] and (kv, score + ape)[c, "
            "r, D + d], "
            "r = 0..3; y[c, d] = sum softmax(scores) kv over the eight\n"
            "The window before the first is prev_kv and prev_score (whose scores have the ape "
            "already); left "
            "out: score -inf, kv 0.\n"
            "kv, score [C, 4, 2 D] f32, prev_* [4, 2 D] f32, ape [4, 2 D] f32 (left out: added "
            "already), y "
            "[C, D]; f32 inside, rounded once",
        .source = "model.py:307-345",
        .tensors = {in("kv", "C,4,D*2", {DType::f32}), in("score", "C,4,D*2", {DType::f32}),
                    out("y", "C,D", {DType::bf16, DType::f32}),
                    optional(in("ape", "4,D*2", {DType::f32})),
                    optional(in("prev_kv", "4,D*2", {DType::f32})),
                    optional(in("prev_score", "4,D*2", {DType::f32}))},
        .dynamic_dims = {"C"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D");
    // Eight slots of scores are alive at once.
    const int64_t cols = std::clamp<int64_t>(b.caps().vector_tile / 2, 1, pow2_ceil(width));
    const bool has_ape = b.has("ape"), has_prev = b.has("prev_kv") && b.has("prev_score");
    const DType to = b.dtype("y");
    const auto body = [=](KernelBuilder& k, View kv, View score, View y, View ape, View prev_kv,
                          View prev_score) {
      using compressor::kNoScore;
      const Tile col = k.program_id(0) * cols, window = k.program_id(1);
      const Tile half = y.extent(1);
      const auto slot = [&](const View& from, int64_t r, bool previous, double fill) {
        if (previous) return load(from, {window - 1, r, col}, {cols}, fill);
        return load(from, {window, r, half + col}, {cols}, fill);
      };
      const auto state = [&](const View& from, int64_t r, double fill) {
        return load(from, {r, col}, {cols}, fill);
      };
      std::array<Tile, 2 * kRatio> logits, values;
      for (int64_t i = 0; i < 2 * kRatio; ++i) {
        const bool previous = i < kRatio;
        const int64_t r = i % kRatio;
        Tile value = slot(kv, r, previous, 0), logit = slot(score, r, previous, kNoScore);
        if (has_ape)
          logit = logit + (previous ? state(ape, r, 0) : load(ape, {r, half + col}, {cols}));
        if (previous && has_prev) {
          value = select(window == 0, state(prev_kv, r, 0), value);
          logit = select(window == 0, state(prev_score, r, kNoScore), logit);
        }
        values[static_cast<size_t>(i)] = value;
        logits[static_cast<size_t>(i)] = logit;
      }
      const auto walk = [&](auto carried, auto step) {
        for (size_t i = 0; i < logits.size(); ++i)
          carried = step([&] { return logits[i]; }, [&] { return values[i]; }, carried);
        return carried;
      };
      store(y, {window, col}, cast(compressor::softmax_mean(k, {cols}, walk), to));
    };
    const std::vector<int64_t> grid = {programs_for(width, cols), b.dim("C")};
    const Arg kv = b.tensor("kv"), score = b.tensor("score"), y = b.tensor("y");
    if (has_ape && has_prev)
      b.kernel("windows_ape_prev", grid,
               {kv, score, y, b.tensor("ape"), b.tensor("prev_kv"), b.tensor("prev_score")}, body);
    else if (has_ape)
      b.kernel("windows_ape", grid, {kv, score, y, b.tensor("ape")},
               [body](KernelBuilder& k, View kv, View s, View y, View ape) {
                 body(k, kv, s, y, ape, {}, {});
               });
    else if (has_prev)
      b.kernel("windows_prev", grid, {kv, score, y, b.tensor("prev_kv"), b.tensor("prev_score")},
               [body](KernelBuilder& k, View kv, View s, View y, View pk, View ps) {
                 body(k, kv, s, y, {}, pk, ps);
               });
    else
      b.kernel("windows", grid, {kv, score, y}, [body](KernelBuilder& k, View kv, View s, View y) {
        body(k, kv, s, y, {}, {}, {});
      });
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D");
    const bool has_prev = r.has("prev_kv") && r.has("prev_score");
    for (int64_t c = 0; c < r.dim("C"); ++c)
      for (int64_t d = 0; d < width; ++d) {
        double score[8], value[8];
        for (int64_t s = 0; s < 4; ++s) {
          const double first = r.has("ape") ? r.in("ape").at({s, d}) : 0;
          const double second = r.has("ape") ? r.in("ape").at({s, width + d}) : 0;
          score[s] = -INFINITY;
          value[s] = 0;
          if (c > 0) {
            score[s] = r.in("score").at({c - 1, s, d}) + first;
            value[s] = r.in("kv").at({c - 1, s, d});
          } else if (has_prev) {
            score[s] = r.in("prev_score").at({s, d});
            value[s] = r.in("prev_kv").at({s, d});
          }
          score[4 + s] = r.in("score").at({c, s, width + d}) + second;
          value[4 + s] = r.in("kv").at({c, s, width + d});
        }
        const double top = *std::max_element(score, score + 8);
        double weights = 0, sum = 0, magnitude = 0;
        for (int s = 0; s < 8; ++s) {
          weights += std::exp(score[s] - top);
          sum += std::exp(score[s] - top) * value[s];
          magnitude += std::exp(score[s] - top) * std::abs(value[s]);
        }
        r.out("y").set({c, d}, sum / weights, magnitude / weights);
      }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types ape = {{"y", DType::bf16}, {"ape", DType::f32}}, plain = {{"y", DType::bf16}};
    const Types f32 = {{"y", DType::f32}, {"ape", DType::f32}};
    const Types decode = {{"y", DType::bf16}, {"prev_kv", DType::f32}, {"prev_score", DType::f32}};
    Types chunk = f32;
    chunk["prev_kv"] = chunk["prev_score"] = DType::f32;
    return {
        {{{"C", 1}, {"D", 512}}, ape, {}, false, true, "first window only"},
        {{{"C", 5}, {"D", 512}}, f32, {}, false, true, "main"},
        {{{"C", 17}, {"D", 128}}, f32, {}, false, true, "indexer"},
        {{{"C", 1}, {"D", 512}},
         decode,
         {},
         false,
         true,
         "decode: state before, scores have the ape"},
        {{{"C", 4}, {"D", 128}}, chunk, {}, false, true, "later chunk of a prompt"},
        {{{"C", 3}, {"D", 100}}, f32, {}, false, true, "odd width"},
        {{{"C", 2}, {"D", 3}}, plain},
        {{{"C", 4}, {"D", 77}}, chunk, {}, false, true, "huge"},
        {{{"C", 2}, {"D", 64}}, decode, {}, false, true, "empty state"},
        {{{"C", 0}, {"D", 512}}, ape},
        bench_case({{"C", 1}, {"D", 512}}, decode),
        bench_case({{"C", 8192}, {"D", 512}}, ape, {}, "256 MB"),
    };
  }

  static void fill(Inputs& in) {
    if (!in.test_case().test) return;
    const std::string& note = in.test_case().note;
    HostTensor& score = in.tensor("score");
    for (int64_t i = 0; i < score.numel(); ++i)
      score.set_flat(i, in.normal(note == "huge" ? 1000 : 3));
    if (note == "empty state") {
      HostTensor &prev = in.tensor("prev_score"), &kv = in.tensor("prev_kv");
      for (int64_t i = 0; i < prev.numel(); ++i) {
        prev.set_flat(i, -INFINITY);
        kv.set_flat(i, 0);
      }
    }
  }

  /// As gated_pool, with eight terms.
  static Tolerance tolerance(const Problem&) { return {.scaled = 2e-5}; }

  static Cost cost(const Problem& p) {
    const double windows = static_cast<double>(p.dim("C") * p.dim("D"));
    return {.bytes_read = windows * 2 * 4 * 8,
            .bytes_written = windows * bits(p.dtype("y")) / 8,
            .flops = windows * 50};
  }
};

}  // namespace tessera::ops
