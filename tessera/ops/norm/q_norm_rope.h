// SPDX-License-Identifier: Apache-2.0
// The query after its second projection: norm of each head and rope, one pass over memory.
#pragma once

#include <cmath>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/ops/norm/head_rms_norm.h"
#include "tessera/ops/rope/rope.h"

namespace tessera::ops {

struct QNormRope {
  static Signature signature() {
    return {
        .name = "q_norm_rope",
        .family = "norm",
        .rows = "5,8",
        .summary = "RMS norm of each query head, then rope on its last 64 dimensions, in place.",
        .formula =
            "q <- rope(head_rms_norm(q)): the norm rounds to bf16 (at every step, or once with "
            "exact_fp32 = "
            "1), the rotation rounds its 64 dimensions once more\n"
            "q [T, H, D] bf16, positions [T] (left out: row t of the tables), cos and sin [P, 32] "
            "f32",
        .source = "model.py:498-499",
        .tensors = {inout("q", "T,H,D", {DType::bf16, DType::f32}),
                    optional(in("positions", "T", {DType::i32, DType::i64})),
                    in("cos", "P,32", {DType::f32}), in("sin", "P,32", {DType::f32})},
        .attributes = {{"eps", 1e-6}, {"exact_fp32", 0}},
        .dynamic_dims = {"T", "P"},
    };
  }

  static void plan(PlanBuilder& b) {
    const RowTiling t = HeadRmsNorm::head_tiling(b);
    const double eps = b.attribute("eps");
    const bool exact = b.attribute("exact_fp32") != 0, placed = b.has("positions");
    const DType to = b.dtype("q");
    const int64_t start = b.dim("D") - Rope::kDims;
    // Whole heads lie in a tile and are turned as one, most of them by nothing.
    const bool one_tile = t.cols >= b.dim("D") && start % 2 == 0;
    b.kernel("heads", {t.programs(b.dim("H")), b.dim("T")},
             {b.tensor("q"), Rope::positions_arg(b), b.tensor("cos"), b.tensor("sin")},
             [=](KernelBuilder& k, View q, View positions, View cos, View sin) {
               const Tile token = k.program_id(1);
               const Tile position = Rope::table_row(placed, positions, token);
               if (one_tile) {
                 const int64_t pairs = t.cols / 2, still = start / 2;
                 const Tile moves = k.iota({1, pairs}, 1) >= still;
                 const Tile c = select(moves, load(cos, {position, -still}, {1, pairs}), 1.0);
                 const Tile s = load(sin, {position, -still}, {1, pairs});
                 for_program(k, 0, t.per_program, t.rows, q.extent(1), [&](Tile head) {
                   const Tile v = to_f32(load(q, {token, head, 0}, t.shape()));
                   const Tile scaled = v * HeadRmsNorm::factor(v, to_f32(q.extent(2)), eps, exact);
                   const Tile normed = to == DType::f32 ? scaled : round_to(scaled, to);
                   store(q, {token, head, 0}, cast(Rope::rotate(normed, c, s), to));
                 });
                 return;
               }
               const Tile c = load(cos, {position, 0}, {1, Rope::kPairs});
               const Tile s = load(sin, {position, 0}, {1, Rope::kPairs});
               const View nope = q.bounded(2, start);
               for_program(k, 0, t.per_program, t.rows, q.extent(1), [&](Tile head) {
                 const Tile scale = HeadRmsNorm::factors(k, q, token, head, t, eps, exact);
                 k.for_range(0, start, t.cols, [&](Tile d) {
                   const Tile v = to_f32(load(nope, {token, head, d}, t.shape()));
                   store(nope, {token, head, d}, cast(v * scale, to));
                 });
                 const Tile v = to_f32(load(q, {token, head, start}, {t.rows, Rope::kDims}));
                 const Tile normed = to == DType::f32 ? v * scale : round_to(v * scale, to);
                 store(q, {token, head, start}, cast(Rope::rotate(normed, c, s), to));
               });
             });
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D"), start = width - 64;
    const bool exact = r.attribute("exact_fp32") != 0,
               narrow = r.problem().dtype("q") == DType::bf16;
    const auto bf16 = [](double v) { return double{decode_bf16(encode_bf16(v))}; };
    const auto step = [&](double v) { return exact ? v : bf16(v); };
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t h = 0; h < r.dim("H"); ++h) {
        double squares = 0;
        for (int64_t d = 0; d < width; ++d) squares += step(std::pow(r.in("q").at({t, h, d}), 2));
        const double mean = step(squares / static_cast<double>(width));
        const double scale = step(1 / std::sqrt(step(mean + r.attribute("eps"))));
        const auto normed = [&](int64_t d) { return r.in("q").at({t, h, d}) * scale; };
        for (int64_t d = 0; d < start; ++d) r.out("q").set({t, h, d}, normed(d));
        const int64_t p = Rope::table_row(r, t);
        for (int64_t i = 0; i < 32; ++i) {
          const double c = r.in("cos").at({p, i}), s = r.in("sin").at({p, i});
          const double x = normed(start + 2 * i), y = normed(start + 2 * i + 1);
          const double a = narrow ? bf16(x) : x, b = narrow ? bf16(y) : y;
          r.out("q").set({t, h, start + 2 * i}, a * c - b * s, std::abs(a * c) + std::abs(b * s));
          r.out("q").set({t, h, start + 2 * i + 1}, a * s + b * c,
                         std::abs(a * s) + std::abs(b * c));
        }
      }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"q", DType::bf16}, {"positions", DType::i32}};
    const Types i64 = {{"q", DType::bf16}, {"positions", DType::i64}};
    const Types f32 = {{"q", DType::f32}, {"positions", DType::i32}};
    const std::map<std::string, double> exact = {{"exact_fp32", 1}};
    return {
        {{{"T", 1}, {"H", 64}, {"D", 512}, {"P", 64}}, bf16, {}, false, true, "Flash"},
        {{{"T", 2}, {"H", 128}, {"D", 512}, {"P", 64}}, i64, {}, false, true, "Pro"},
        {{{"T", 3}, {"H", 8}, {"D", 512}, {"P", 64}}, f32, exact},
        {{{"T", 17}, {"H", 5}, {"D", 512}, {"P", 64}}, bf16},
        {{{"T", 9}, {"H", 4}, {"D", 128}, {"P", 9}},
         {{"q", DType::bf16}},
         {},
         false,
         true,
         "tables of the step"},
        {{{"T", 5}, {"H", 3}, {"D", 100}, {"P", 9}},
         bf16,
         {{"eps", 0.5}},
         false,
         true,
         "zero head"},
        {{{"T", 3}, {"H", 2}, {"D", 64}, {"P", 9}}, f32, exact},
        {{{"T", 0}, {"H", 64}, {"D", 512}, {"P", 64}}, bf16},
        bench_case({{"T", 1}, {"H", 64}, {"D", 512}, {"P", 4096}}, bf16),
        bench_case({{"T", 4096}, {"H", 64}, {"D", 512}, {"P", 4096}}, bf16, {}, "256 MB in place"),
    };
  }

  static void fill(Inputs& in) {
    Rope::fill_rotation(in);
    if (!in.test_case().test) return;
    HostTensor& q = in.tensor("q");
    for (int64_t t = 0; t < q.extent(0); ++t)
      for (int64_t h = 0; h < q.extent(1); ++h) {
        const double scale = std::exp2(static_cast<double>(in.integer(-6, 6)));
        const bool zero = in.test_case().note == "zero head" && h == 1;
        for (int64_t d = 0; d < q.extent(2); ++d) q.set({t, h, d}, zero ? 0 : in.normal(scale));
        HeadRmsNorm::settle(in, q, t, h, scale);
      }
  }

  /// As head_rms_norm and rope.
  static Tolerance tolerance(const Problem& p) {
    return {.relative = p.flag("exact_fp32") ? 1e-5 : 0.0,
            .scaled = p.flag("exact_fp32") ? 1e-5 : 3e-7};
  }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("H") * p.dim("D"));
    const double bytes = elements * bits(p.dtype("q")) / 8;
    return {
        .bytes_read = bytes + p.dim("T") * 256.0, .bytes_written = bytes, .flops = 3.5 * elements};
  }
};

}  // namespace tessera::ops
