// SPDX-License-Identifier: Apache-2.0
// Activations to INT8 with one scale a token, for gemm_int8.
#pragma once

#include <cmath>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct Int8Quant {
  static constexpr float kLeastAmax = 1e-10f;  // a row of zeros has the scale of this

  static Signature signature() {
    return {
        .name = "int8_quant",
        .family = "quant",
        .rows = "13",
        .summary = "INT8 with one f32 scale a row",
        .formula =
            "s[t] = max(max_k |x[t,k]|, 1e-10) / 127, q[t,k] = x[t,k] / s[t] in f32, rounded to "
            "nearest even. x bf16 or f32 [T,K], finite; q i8 [T,K], s f32 [T].",
        .source = "FlagOS quantize_int8_moe.py (per-token quantisation)",
        .tensors = {in("x", "T,K", {DType::bf16, DType::f32}), out("q", "T,K", {DType::i8}),
                    out("s", "T", {DType::f32})},
    };
  }

  /// x in [-127, 127] to the nearest integer: adding 1.5 x 2^23 leaves no fraction bits.
  static Tile nearest(Tile x) { return cast(x + 0x1.8p23f - 0x1.8p23f, DType::i32); }

  static void plan(PlanBuilder& b) {
    const RowTiling t = row_tiling(b, "T", b.dim("K"));
    b.kernel("rows", {t.programs(b.dim("T"))}, {b.tensor("x"), b.tensor("q"), b.tensor("s")},
             [t](KernelBuilder& k, View x, View q, View s) {
               t.for_rows(k, x, [&](Tile row) {
                 const auto [largest] = k.for_range(
                     0, x.extent(1), t.cols, lang::carry(k.zeros(DType::f32, t.shape())),
                     [&](Tile c, Tile so_far) {
                       return lang::carry(max(so_far, abs(to_f32(load(x, {row, c}, t.shape())))));
                     });
                 const Tile scale = max(reduce_max(largest, 1), kLeastAmax) / 127.0f;
                 store(s, {row}, reshape(scale, {t.rows}));
                 k.for_range(0, x.extent(1), t.cols, [&](Tile c) {
                   const Tile scaled = to_f32(load(x, {row, c}, t.shape())) / scale;
                   store(q, {row, c}, cast(nearest(scaled), DType::i8));
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      double amax = kLeastAmax;
      for (int64_t k = 0; k < r.dim("K"); ++k)
        amax = std::max(amax, std::abs(r.in("x").at({t, k})));
      // The quotients are those of f32: which side of a half they fall on is part of the operator.
      const auto scale = static_cast<float>(amax / 127);
      r.out("s").set({t}, scale);
      for (int64_t k = 0; k < r.dim("K"); ++k)
        r.out("q").set({t, k}, std::nearbyint(static_cast<float>(r.in("x").at({t, k})) / scale));
    }
  }

  static void fill(Inputs& in) {
    HostTensor& x = in.tensor("x");
    const std::string& note = in.test_case().note;
    for (int64_t k = 0; k < x.extent(1) && x.extent(0) > 0; ++k) {
      if (note == "zero row") x.set({x.extent(0) / 2, k}, 0);
      // A scale of 1 and ties in both directions.
      if (note == "ties")
        for (int64_t t = 0; t < x.extent(0); ++t)
          x.set({t, k}, k == 0 ? 127 : static_cast<double>(in.integer(-127, 126)) + 0.5);
      if (note == "huge") x.set({0, k}, in.normal(1e30));
    }
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (DType x : {DType::bf16, DType::f32}) {
      const std::map<std::string, DType> dtypes = {{"x", x}};
      for (int64_t T : {0, 1, 3, 17}) list.push_back({{{"T", T}, {"K", 4096}}, dtypes});
      list.push_back({{{"T", 70}, {"K", 50}}, dtypes, {}, false, true, "several rows a program"});
      list.push_back({{{"T", 5}, {"K", 1000}}, dtypes, {}, false, true, "zero row"});
      list.push_back({{{"T", 4}, {"K", 512}}, dtypes, {}, false, true, "ties"});
      list.push_back({{{"T", 2}, {"K", 300}}, dtypes, {}, false, true, "huge"});
      for (int64_t T : {1, 64, 4096}) list.push_back(bench_case({{"T", T}, {"K", 4096}}, dtypes));
    }
    return list;
  }

  /// The scale is one correctly rounded division.
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("x").bytes()),
            .bytes_written = static_cast<double>(p.tensor("q").bytes() + p.tensor("s").bytes()),
            .flops = 4 * static_cast<double>(p.tensor("x").shape.numel())};
  }
};

}  // namespace tessera::ops
