// SPDX-License-Identifier: Apache-2.0
// INT8 linear layer: per-token activation scales, per-channel weight scales.
#pragma once

#include "tessera/ops/gemm/kernels/product.h"

namespace tessera::ops {

struct GemmInt8 {
  static Signature signature() {
    return {
        .name = "gemm_int8",
        .family = "gemm",
        .rows = "20",
        .summary = "INT8 x INT8 matrix product with a scale a token and a scale an output channel",
        .formula =
            "y[t,n] = (sum_k a[t,k] w[n,k]) a_scale[t] w_scale[n], the sum exact in i32 (K <= "
            "131072), then "
            "f32, one rounding to y. a i8 [T,K], w i8 [N,K], scales f32.",
        .source = "FlagOS scaled_mm (w8a8)",
        .tensors = {in("a", "T,K", {DType::i8}), in("a_scale", "T", {DType::f32}),
                    weight("w", "N,K", {DType::i8}), weight("w_scale", "N", {DType::f32}),
                    out("y", "T,N", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    using gemm::Blocking;
    gemm::plan_product(
        b, b.tensors({"a", "a_scale", "w", "w_scale", "y"}), DType::i32,
        [](const NamedViews& v, const Blocking& t, Tile m, Tile n, Tile k0, Tile acc) {
          return dot(load(v["a"], {m, k0}, {t.m, t.k}), load(v["w"], {n, k0}, {t.n, t.k}), acc);
        },
        [](const NamedViews& v, const Blocking& t, Tile m, Tile n, Tile sum) {
          const Tile row_scale = reshape(load(v["a_scale"], {m}, {t.m}), {t.m, 1});
          return cast(sum, DType::f32) * row_scale * load(v["w_scale"], {n}, {t.n});
        });
  }

  static void reference(const Reference& r) {
    gemm::plain_product(r, gemm::decoded(r.in("a")), gemm::decoded(r.in("w")),
                        [&](int64_t t, int64_t n, double sum) {
                          return sum * r.in("a_scale").at({t}) * r.in("w_scale").at({n});
                        });
  }

  static void fill(Inputs& in) {
    for (const char* name : {"a", "w"})
      for (int64_t i = 0; i < in.tensor(name).numel(); ++i)
        in.tensor(name).set_flat(i, in.integer(-128, 127));
    for (const char* name : {"a_scale", "w_scale"})
      for (int64_t i = 0; i < in.tensor(name).numel(); ++i)
        in.tensor(name).set_flat(i, in.uniform(0.001, 0.02));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 2, 3, 8, 9, 65})
      list.push_back({.dims = {{"T", T}, {"N", 64}, {"K", 256}}, .dtypes = {{"y", DType::f32}}});
    for (int64_t T : {1, 5, 17})
      list.push_back({.dims = {{"T", T}, {"N", 131}, {"K", 333}},
                      .dtypes = {{"y", DType::f32}},
                      .note = "N, K tail"});
    list.push_back({.dims = {{"T", 6}, {"N", 64}, {"K", 512}}, .dtypes = {{"y", DType::bf16}}});
    for (int64_t T : gemm::kBenchTokens)
      list.push_back(bench_case({{"T", T}, {"N", 2048}, {"K", 4096}}, {{"y", DType::bf16}}));
    return list;
  }

  /// The sum is exact; its conversion to f32 and two products round.
  static Tolerance tolerance(const Problem&) { return {.relative = 4 * 0x1p-24}; }

  static Cost cost(const Problem& p) { return gemm::linear_cost(p, "a"); }
};

}  // namespace tessera::ops
