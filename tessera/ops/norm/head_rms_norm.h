// SPDX-License-Identifier: Apache-2.0
// RMS norm of each query head, without a weight.
#pragma once

#include <cmath>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct HeadRmsNorm {
  static Signature signature() {
    return {
        .name = "head_rms_norm",
        .family = "norm",
        .rows = "5",
        .summary = "RMS norm of each head, rounded to bf16 at every step as the official chain is.",
        .formula =
            "y[t, h, :] = r(x * r(rsqrt(r(r(mean_d r(x^2)) + eps)))), x = x[t, h, :], r = round to "
            "bf16, the mean summed in f32; x, y [T, H, D] bf16.\n"
            "With exact_fp32 = 1 only the result is rounded: y = r(x * rsqrt(mean x^2 + eps)).",
        .source = "model.py:498",
        .tensors = {in("x", "T,H,D", {DType::bf16, DType::f32}),
                    out("y", "T,H,D", {DType::bf16, DType::f32})},
        .attributes = {{"eps", 1e-6}, {"exact_fp32", 0}},
    };
  }

  /// The square as the chain sums it.
  static Tile square(Tile v, bool exact) { return exact ? v * v : round_to(v * v, DType::bf16); }
  /// The factor of a head from its sum of squares.
  static Tile factor_of(Tile squares, Tile width, double eps, bool exact) {
    if (exact) return rsqrt(squares / width + eps);
    const Tile mean = round_to(squares / width, DType::bf16);
    return round_to(rsqrt(round_to(mean + eps, DType::bf16)), DType::bf16);
  }
  /// The factors of whole heads [rows, D], f32 [rows, 1].
  static Tile factor(Tile heads, Tile width, double eps, bool exact) {
    return factor_of(reduce_sum(square(heads, exact), 1), width, eps, exact);
  }
  /// The factors of `rows` heads of token `token` from head `head` on, f32 [rows, 1].
  static Tile factors(KernelBuilder& k, const View& x, Tile token, Tile head, const RowTiling& t,
                      double eps, bool exact) {
    const auto [squares] = k.for_range(
        0, x.extent(2), t.cols, lang::carry(k.zeros(DType::f32, t.shape())), [&](Tile c, Tile sum) {
          return lang::carry(sum + square(to_f32(load(x, {token, head, c}, t.shape())), exact));
        });
    return factor_of(reduce_sum(squares, 1), to_f32(x.extent(2)), eps, exact);
  }
  /// Heads of one token, several a program: the rows of the tiling are heads.
  static RowTiling head_tiling(const PlanBuilder& b) {
    const int64_t width = b.dim("D"), heads = pow2_ceil(b.dim("H"));
    RowTiling t;
    t.cols = std::min(b.caps().vector_tile, pow2_ceil(width));
    t.rows = std::clamp<int64_t>(b.caps().vector_tile / t.cols, 1, heads);
    const int64_t wanted = b.caps().program_grain / std::max<int64_t>(width, 1);
    t.per_program = std::min(heads, std::max(t.rows, wanted / t.rows * t.rows));
    return t;
  }

  static void plan(PlanBuilder& b) {
    const RowTiling t = head_tiling(b);
    const double eps = b.attribute("eps");
    const bool exact = b.attribute("exact_fp32") != 0;
    const DType to = b.dtype("y");
    const bool one_tile = t.cols >= b.dim("D");
    b.kernel("heads", {t.programs(b.dim("H")), b.dim("T")},
             {b.tensor("x"), streamed_if_large(b, "y", "T", b.dim("H") * b.dim("D"))},
             [t, eps, exact, to, one_tile](KernelBuilder& k, View x, View y) {
               const Tile token = k.program_id(1);
               for_program(k, 0, t.per_program, t.rows, x.extent(1), [&](Tile head) {
                 if (one_tile) {
                   const Tile v = to_f32(load(x, {token, head, 0}, t.shape()));
                   store(y, {token, head, 0},
                         cast(v * factor(v, to_f32(x.extent(2)), eps, exact), to));
                   return;
                 }
                 const Tile scale = factors(k, x, token, head, t, eps, exact);
                 k.for_range(0, x.extent(2), t.cols, [&](Tile c) {
                   const Tile v = to_f32(load(x, {token, head, c}, t.shape()));
                   store(y, {token, head, c}, cast(v * scale, to));
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D");
    const bool exact = r.attribute("exact_fp32") != 0;
    const auto bf16 = [exact](double v) { return exact ? v : double{decode_bf16(encode_bf16(v))}; };
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t h = 0; h < r.dim("H"); ++h) {
        double squares = 0;
        for (int64_t d = 0; d < width; ++d) {
          const double v = r.in("x").at({t, h, d});
          squares += bf16(v * v);
        }
        const double mean = bf16(squares / static_cast<double>(width));
        const double scale = bf16(1 / std::sqrt(bf16(mean + r.attribute("eps"))));
        for (int64_t d = 0; d < width; ++d)
          r.out("y").set({t, h, d}, r.in("x").at({t, h, d}) * scale);
      }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16}, {"y", DType::bf16}};
    const Types f32 = {{"x", DType::f32}, {"y", DType::f32}};
    const std::map<std::string, double> exact = {{"exact_fp32", 1}};
    return {
        {{{"T", 1}, {"H", 64}, {"D", 512}}, bf16, {}, false, true, "Flash"},
        {{{"T", 2}, {"H", 128}, {"D", 512}}, bf16, {}, false, true, "Pro"},
        {{{"T", 3}, {"H", 64}, {"D", 512}}, bf16, exact},
        {{{"T", 17}, {"H", 5}, {"D", 512}}, bf16},
        {{{"T", 5}, {"H", 3}, {"D", 100}}, bf16, {}, false, true, "zero head"},
        {{{"T", 3}, {"H", 7}, {"D", 129}}, f32, exact},
        {{{"T", 4}, {"H", 2}, {"D", 64}}, bf16, {{"eps", 0.5}}},
        {{{"T", 0}, {"H", 64}, {"D", 512}}, bf16},
        bench_case({{"T", 1}, {"H", 64}, {"D", 512}}, bf16),
        bench_case({{"T", 4096}, {"H", 64}, {"D", 512}}, bf16, {}, "256 MB"),
    };
  }

  /// Redraws heads whose mean lies so near to a rounding boundary of bf16 that the order of
  /// summation would decide: everything else in the chain is exact.
  static void settle(Inputs& in, HostTensor& x, int64_t t, int64_t h, double scale) {
    const int64_t width = in.problem().dim("D");
    for (int attempt = 0; attempt < 100; ++attempt) {
      double squares = 0;
      for (int64_t d = 0; d < width; ++d) {
        const double v = x.at({t, h, d});
        squares += decode_bf16(encode_bf16(v * v));
      }
      const double mean = squares / static_cast<double>(width);
      if (encode_bf16(mean * (1 - 1e-5)) == encode_bf16(mean * (1 + 1e-5))) return;
      for (int64_t d = 0; d < width; ++d) x.set({t, h, d}, in.normal(scale));
    }
  }

  static void fill(Inputs& in) {
    HostTensor& x = in.tensor("x");
    const Problem& p = in.problem();
    if (!in.test_case().test) return;
    for (int64_t t = 0; t < p.dim("T"); ++t)
      for (int64_t h = 0; h < p.dim("H"); ++h) {
        const double scale = std::exp2(static_cast<double>(in.integer(-6, 6)));
        const bool zero = in.test_case().note == "zero head" && h == 1;
        for (int64_t d = 0; d < p.dim("D"); ++d) x.set({t, h, d}, zero ? 0 : in.normal(scale));
        settle(in, x, t, h, scale);
      }
  }

  /// The chain is exact given the rounded mean (products of two bf16 fit f32, one rounding
  /// follows). The f32 variant: as rms_norm.
  static Tolerance tolerance(const Problem& p) {
    return {.relative = p.flag("exact_fp32") ? 1e-5 : 1e-6};
  }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("H") * p.dim("D"));
    return {.bytes_read = elements * bits(p.dtype("x")) / 8,
            .bytes_written = elements * bits(p.dtype("y")) / 8,
            .flops = 3 * elements};
  }
};

}  // namespace tessera::ops
