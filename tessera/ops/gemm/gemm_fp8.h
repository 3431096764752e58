// SPDX-License-Identifier: Apache-2.0
// FP8 linear layer: both operands e4m3 with power-of-two block scales.
#pragma once

#include <utility>

#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::ops {

struct GemmFp8 {
  static Signature signature() {
    return {
        .name = "gemm_fp8",
        .family = "gemm",
        .rows = "15",
        .summary = "FP8 x FP8 matrix product with 1x128 and 128x128 block scales",
        .formula =
            "y[t,n] = sum_k a[t,k] a_scale[t,k/128] w[n,k] w_scale[n/128,k/128], products exact, "
            "sum in "
            "f32, one rounding to y. a e4m3 [T,K], w e4m3 [N,K], scales e8m0 (powers of two).",
        .source = "kernel.py:204 fp8_gemm, model.py:113 linear",
        .tensors = {in("a", "T,K", {DType::f8e4m3}), in("a_scale", "T,K/128", {DType::f8e8m0}),
                    weight("w", "N,K", {DType::f8e4m3}),
                    weight("w_scale", "N/128,K/128", {DType::f8e8m0}),
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
          gemm::walk_weights(
              k, t, first, w.extent(0), w.extent(1), DType::f32,
              [&](Tile n, Tile k0, Tile acc) {
                return dot_scaled(gemm::activations(a, a_scale, m, k0, t),
                                  gemm::fp8_weights(w, w_scale, n, k0, t), acc);
              },
              [&](Tile n, Tile sum) { store(y, {m, n}, cast(sum, y_dtype)); });
        });
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), N = r.dim("N"), K = r.dim("K");
    const auto a = gemm::decoded(r.in("a"), r.in("a_scale"), 1, 128);
    const auto w = gemm::decoded(r.in("w"), r.in("w_scale"), 128, 128);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t n = 0; n < N; ++n) {
        const auto sum = gemm::dot_sum(&a[t * K], &w[n * K], K);
        r.out("y").set({t, n}, sum.value, sum.magnitude);
      }
  }

  static void fill(Inputs& in) {
    gemm::fill_scales(in, "a_scale");
    gemm::fill_scales(in, "w_scale");
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    // f32 results show the loss of a single product, which the rounding to bf16 could hide.
    for (int64_t T : {0, 1, 2, 3, 8, 9, 65})
      list.push_back({.dims = {{"T", T}, {"N", 256}, {"K", 256}}, .dtypes = {{"y", DType::f32}}});
    for (int64_t T : {1, 5, 17})
      list.push_back({.dims = {{"T", T}, {"N", 131}, {"K", 384}},
                      .dtypes = {{"y", DType::f32}},
                      .note = "N tail"});
    list.push_back({.dims = {{"T", 1}, {"N", 24}, {"K", 1152}},
                    .dtypes = {{"y", DType::bf16}},
                    .note = "K tail"});
    list.push_back({.dims = {{"T", 6}, {"N", 128}, {"K", 512}}, .dtypes = {{"y", DType::bf16}}});
    for (int64_t T : {1, 2, 4, 8, 64, 512})
      for (auto [N, K] : {std::pair<int64_t, int64_t>{1024, 4096},
                          {32768, 1024},
                          {512, 4096},
                          {4096, 8192},
                          {8192, 1024},
                          {2048, 4096},
                          {4096, 2048},
                          {4096, 4096}})
        list.push_back(bench_case({{"T", T}, {"N", N}, {"K", K}}, {{"y", DType::bf16}}));
    return list;
  }

  static Tolerance tolerance(const Problem& p) { return gemm::dot_tolerance(p.dim("K")); }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"a", "a_scale", "w", "w_scale"}, "y",
                              2.0 * p.dim("T") * p.dim("N") * p.dim("K"));
  }
};

}  // namespace tessera::ops
