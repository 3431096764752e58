// SPDX-License-Identifier: Apache-2.0
// Linear layer with bf16 activations and weights.
#pragma once

#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::ops {

struct GemmBf16 {
  static Signature signature() {
    return {
        .name = "gemm_bf16",
        .family = "gemm",
        .rows = "18",
        .summary = "bf16 x bf16 matrix product",
        .formula =
            "y[t,n] = sum_k x[t,k] w[n,k], sum in f32, one rounding to y. x bf16 [T,K], w bf16 "
            "[N,K].",
        .source = "model.py:418 weights_proj, model.py:113 linear",
        .tensors = {in("x", "T,K", {DType::bf16}), weight("w", "N,K", {DType::bf16}),
                    out("y", "T,N", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    const gemm::Blocking t = gemm::blocking(b.caps(), b.m_class("T"));
    const DType y_dtype = b.dtype("y");
    b.kernel("product", gemm::grid(t, b.dim("T"), b.dim("N")),
             {b.tensor("x"), b.tensor("w"), b.tensor("y")},
             [=](KernelBuilder& k, View x, View w, View y) {
               const auto [m, first] = gemm::start(k, t);
               gemm::walk_weights(
                   k, t, first, w.extent(0), w.extent(1), DType::f32,
                   [&](Tile n, Tile k0, Tile acc) {
                     return dot(load(x, {m, k0}, {t.m, t.k}), load(w, {n, k0}, {t.n, t.k}), acc);
                   },
                   [&](Tile n, Tile sum) { store(y, {m, n}, cast(sum, y_dtype)); });
             });
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), N = r.dim("N"), K = r.dim("K");
    const auto x = gemm::decoded(r.in("x")), w = gemm::decoded(r.in("w"));
    for (int64_t t = 0; t < T; ++t)
      for (int64_t n = 0; n < N; ++n) {
        const auto sum = gemm::dot_sum(&x[t * K], &w[n * K], K);
        r.out("y").set({t, n}, sum.value, sum.magnitude);
      }
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 2, 3, 8, 9, 65})
      list.push_back({.dims = {{"T", T}, {"N", 64}, {"K", 256}}, .dtypes = {{"y", DType::f32}}});
    for (int64_t T : {1, 5, 17})
      list.push_back({.dims = {{"T", T}, {"N", 131}, {"K", 333}},
                      .dtypes = {{"y", DType::f32}},
                      .note = "N, K tail"});
    for (int64_t T : {1, 7})
      list.push_back({.dims = {{"T", T}, {"N", 1}, {"K", 1}},
                      .dtypes = {{"y", DType::bf16}},
                      .note = "one element"});
    list.push_back({.dims = {{"T", 6}, {"N", 64}, {"K", 512}}, .dtypes = {{"y", DType::bf16}}});
    for (int64_t T : {1, 2, 4, 8, 64, 512})
      list.push_back(
          bench_case({{"T", T}, {"N", 64}, {"K", 4096}}, {{"y", DType::bf16}}, {}, "weights_proj"));
    for (int64_t T : {256, 1024})
      list.push_back(
          bench_case({{"T", T}, {"N", 1024}, {"K", 1024}}, {{"y", DType::bf16}}, {}, "square"));
    return list;
  }

  static Tolerance tolerance(const Problem& p) { return gemm::dot_tolerance(p.dim("K")); }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"x", "w"}, "y", 2.0 * p.dim("T") * p.dim("N") * p.dim("K"));
  }
};

}  // namespace tessera::ops
