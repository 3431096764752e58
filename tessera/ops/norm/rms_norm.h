// SPDX-License-Identifier: Apache-2.0
// RMS norm with a weight, the norm in front of every sublayer.
#pragma once

#include <cmath>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct RmsNorm {
  static Signature signature() {
    return {
        .name = "rms_norm",
        .family = "norm",
        .rows = "4",
        .summary = "RMS norm over the last dimension with a weight, one rounding at the end.",
        .formula =
            "y[t, d] = x[t, d] * rsqrt(sum_d x[t, d]^2 / D + eps) * w[d]\n"
            "x [T, D], w [D], y [T, D]; everything in f32, rounded once to the dtype of y.",
        .source = "model.py:183",
        .tensors = {in("x", "T,D", {DType::bf16, DType::f32}),
                    in("w", "D", {DType::bf16, DType::f32}),
                    out("y", "T,D", {DType::bf16, DType::f32})},
        .attributes = {{"eps", 1e-6}},
    };
  }

  /// rsqrt(mean x^2 + eps) of the rows of one tile, f32 [rows, 1].
  static Tile inverse_rms(KernelBuilder& k, const View& x, Tile row, const RowTiling& t,
                          double eps) {
    const auto [squares] = k.for_range(
        0, x.extent(1), t.cols, lang::carry(k.zeros(DType::f32, t.shape())), [&](Tile c, Tile sum) {
          const Tile v = to_f32(load(x, {row, c}, t.shape()));
          return lang::carry(fma(v, v, sum));
        });
    return rsqrt(reduce_sum(squares, 1) / to_f32(x.extent(1)) + eps);
  }

  static void plan(PlanBuilder& b) {
    plan_rows(b, b.tensor("x"), streamed_if_large(b, "y", "T", b.dim("D")));
  }

  /// The kernel from x [T, D] to y with weight w.
  static void plan_rows(PlanBuilder& b, const Arg& x, const Arg& y) {
    const int64_t width = b.dim("D");
    const RowTiling t = row_tiling(b, "T", width);
    const double eps = b.attribute("eps");
    const DType to = y.dtype;
    const bool one_tile = t.cols >= width;
    b.kernel("rows", {t.programs(b.dim("T"))}, {x, b.tensor("w"), y},
             [t, eps, to, one_tile](KernelBuilder& k, View x, View w, View y) {
               normalise(k, x, w, y, t, eps, to, one_tile);
             });
  }

  /// The rows of this program. `one_tile`: a tile holds whole rows.
  static void normalise(KernelBuilder& k, const View& x, const View& w, const View& y,
                        const RowTiling& t, double eps, DType to, bool one_tile) {
    t.for_rows(k, x, [&](Tile row) {
      if (one_tile) {
        const Tile v = to_f32(load(x, {row, 0}, t.shape()));
        const Tile weight = load(w, {0}, {t.cols});  // on its way before the sum is known
        const Tile mean = reduce_sum(v * v, 1) / to_f32(x.extent(1));
        store(y, {row, 0}, cast(v * rsqrt(mean + eps) * to_f32(weight), to));
        return;
      }
      const Tile scale = inverse_rms(k, x, row, t, eps);
      k.for_range(0, x.extent(1), t.cols, [&](Tile c) {
        const Tile v = to_f32(load(x, {row, c}, t.shape()));
        store(y, {row, c}, cast(v * scale * to_f32(load(w, {c}, {t.cols})), to));
      });
    });
  }

  static void reference(const Reference& r) {
    const int64_t rows = r.dim("T"), width = r.dim("D");
    for (int64_t t = 0; t < rows; ++t) {
      double squares = 0;
      for (int64_t d = 0; d < width; ++d) squares += r.in("x").at({t, d}) * r.in("x").at({t, d});
      const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + r.attribute("eps"));
      for (int64_t d = 0; d < width; ++d)
        r.out("y").set({t, d}, r.in("x").at({t, d}) * scale * r.in("w").at({d}));
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16}, {"w", DType::bf16}, {"y", DType::bf16}};
    const Types mixed = {{"x", DType::bf16}, {"w", DType::f32}, {"y", DType::bf16}};
    const Types f32 = {{"x", DType::f32}, {"w", DType::f32}, {"y", DType::f32}};
    const Types narrowed = {{"x", DType::f32}, {"w", DType::bf16}, {"y", DType::bf16}};
    return {
        {{{"T", 1}, {"D", 4096}}, bf16, {}, false, true, "Flash attn_norm, ffn_norm, norm"},
        {{{"T", 3}, {"D", 7168}}, bf16, {}, false, true, "Pro"},
        {{{"T", 17}, {"D", 1024}}, bf16, {}, false, true, "Flash q_norm"},
        {{{"T", 5}, {"D", 1536}}, mixed, {}, false, true, "Pro q_norm"},
        {{{"T", 9}, {"D", 512}}, bf16, {}, false, true, "kv_norm"},
        {{{"T", 75}, {"D", 128}},
         bf16,
         {},
         false,
         true,
         "indexer compressor, several rows a program"},
        {{{"T", 17}, {"D", 4096}}, f32},
        {{{"T", 3}, {"D", 512}}, narrowed},
        {{{"T", 6}, {"D", 1000}}, bf16, {}, false, true, "zero row"},
        {{{"T", 4}, {"D", 77}}, bf16, {{"eps", 0.25}}, false, true, "odd width, eps that matters"},
        {{{"T", 3}, {"D", 1}}, f32},
        {{{"T", 4}, {"D", 4096}}, bf16, {}, false, true, "huge"},
        {{{"T", 4}, {"D", 512}}, bf16, {}, false, true, "nan"},
        {{{"T", 0}, {"D", 4096}}, bf16},
        bench_case({{"T", 1}, {"D", 4096}}, bf16),
        bench_case({{"T", 64}, {"D", 4096}}, bf16),
        bench_case({{"T", 2048}, {"D", 512}}, bf16),
        bench_case({{"T", 32768}, {"D", 4096}}, bf16, {}, "512 MB"),
    };
  }

  static void fill(Inputs& in) {
    HostTensor &x = in.tensor("x"), &w = in.tensor("w");
    const int64_t width = in.problem().dim("D"), rows = in.problem().dim("T");
    for (int64_t d = 0; d < width; ++d) w.set({d}, in.uniform(0.5, 1.5));
    const std::string& note = in.test_case().note;
    for (int64_t d = 0; d < width; ++d) {
      if (note == "zero row") x.set({rows / 2, d}, 0);
      if (note == "huge")  // squares still fit f32
        for (int64_t t = 0; t < rows; ++t) x.set({t, d}, in.normal(1e16));
    }
    if (note == "nan") x.set({1, width - 1}, std::nan(""));
  }

  /// f32: the sum of D squares (partial sums of at most D / 16 elements, relative error below
  /// 512 * 2^-24 and in practice far less), rsqrt to 2 ulp, three products.
  static Tolerance tolerance(const Problem&) { return {.relative = 1e-5}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    return {.bytes_read = elements * bits(p.dtype("x")) / 8 + p.dim("D") * bits(p.dtype("w")) / 8.0,
            .bytes_written = elements * bits(p.dtype("y")) / 8,
            .flops = 4 * elements};
  }
};

}  // namespace tessera::ops
