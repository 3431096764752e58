// SPDX-License-Identifier: Apache-2.0
// INT8 linear layer: per-token activation scales, per-channel weight scales.
#pragma once

#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

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
    const gemm::Blocking t = gemm::blocking(b.caps(), b.m_class("T"));
    const DType y_dtype = b.dtype("y");
    b.kernel(
        "product", gemm::grid(t, b.dim("T"), b.dim("N")),
        {b.tensor("a"), b.tensor("a_scale"), b.tensor("w"), b.tensor("w_scale"), b.tensor("y")},
        [=](KernelBuilder& k, View a, View a_scale, View w, View w_scale, View y) {
          const auto [m, first] = gemm::start(k, t);
          const Tile row_scale = reshape(load(a_scale, {m}, {t.m}), {t.m, 1});
          gemm::walk_weights(
              k, t, first, w.extent(0), w.extent(1), DType::i32,
              [&](Tile n, Tile k0, Tile acc) {
                return dot(load(a, {m, k0}, {t.m, t.k}), load(w, {n, k0}, {t.n, t.k}), acc);
              },
              [&](Tile n, Tile sum) {
                const Tile scaled = cast(sum, DType::f32) * row_scale * load(w_scale, {n}, {t.n});
                store(y, {m, n}, cast(scaled, y_dtype));
              });
        });
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), N = r.dim("N"), K = r.dim("K");
    const auto a = gemm::decoded(r.in("a")), w = gemm::decoded(r.in("w"));
    for (int64_t t = 0; t < T; ++t)
      for (int64_t n = 0; n < N; ++n)
        r.out("y").set({t, n}, gemm::dot_sum(&a[t * K], &w[n * K], K).value *
                                   r.in("a_scale").at({t}) * r.in("w_scale").at({n}));
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
    for (int64_t T : {1, 8, 64, 512})
      list.push_back(bench_case({{"T", T}, {"N", 2048}, {"K", 4096}}, {{"y", DType::bf16}}));
    return list;
  }

  /// The sum is exact; its conversion to f32 and two products round.
  static Tolerance tolerance(const Problem&) { return {.relative = 4 * 0x1p-24}; }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"a", "a_scale", "w", "w_scale"}, "y",
                              2.0 * p.dim("T") * p.dim("N") * p.dim("K"));
  }
};

}  // namespace tessera::ops
