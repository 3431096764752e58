// SPDX-License-Identifier: Apache-2.0
// FP4 linear layer: e4m3 activations, e2m1 weights as the checkpoint stores them.
#pragma once

#include <utility>

#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::ops {

struct GemmFp4 {
  static Signature signature() {
    return {
        .name = "gemm_fp4",
        .family = "gemm",
        .rows = "16",
        .summary = "FP8 x FP4 matrix product with 1x128 and 1x32 block scales",
        .formula =
            "y[t,n] = sum_k a[t,k] a_scale[t,k/128] w[n,k] w_scale[n,k/32], products exact, sum in "
            "f32, one "
            "rounding to y. a e4m3 [T,K], w e2m1 [N,K] (low nibble = even k), scales e8m0.",
        .source = "kernel.py:442 fp4_gemm, model.py:113 linear",
        .tensors = {in("a", "T,K", {DType::f8e4m3}), in("a_scale", "T,K/128", {DType::f8e8m0}),
                    weight("w", "N,K", {DType::f4e2m1}),
                    weight("w_scale", "N,K/32", {DType::f8e8m0}),
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
                                  gemm::fp4_weights(w, w_scale, n, k0, t), acc);
              },
              [&](Tile n, Tile sum) { store(y, {m, n}, cast(sum, y_dtype)); });
        });
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), N = r.dim("N"), K = r.dim("K");
    const auto a = gemm::decoded(r.in("a"), r.in("a_scale"), 1, 128);
    const auto w = gemm::decoded(r.in("w"), r.in("w_scale"), 1, 32);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t n = 0; n < N; ++n) {
        const auto sum = gemm::dot_sum(&a[t * K], &w[n * K], K);
        r.out("y").set({t, n}, sum.value, sum.magnitude);
      }
  }

  static void fill(Inputs& in) {
    gemm::fill_scales(in, "a_scale");
    gemm::fill_scales(in, "w_scale");
    if (in.test_case().note != "extreme scales") return;
    // Both ends of e8m0; code 0 is 2^-127. The activations' scales bring the products back.
    HostTensor &w = in.tensor("w_scale"), &a = in.tensor("a_scale");
    for (int64_t i = 0; i < w.numel(); ++i) w.set_flat(i, i / 4 % 2 == 0 ? 0x1p-127 : 0x1p-120);
    for (int64_t i = 0; i < a.numel(); ++i) a.set_flat(i, 0x1p100);
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 2, 3, 8, 9, 65})
      list.push_back({.dims = {{"T", T}, {"N", 256}, {"K", 256}}, .dtypes = {{"y", DType::f32}}});
    for (int64_t T : {1, 5, 17})
      list.push_back({.dims = {{"T", T}, {"N", 131}, {"K", 352}},
                      .dtypes = {{"y", DType::f32}},
                      .note = "N, K tail"});
    list.push_back({.dims = {{"T", 1}, {"N", 24}, {"K", 1056}},
                    .dtypes = {{"y", DType::bf16}},
                    .note = "K tail"});
    list.push_back({.dims = {{"T", 6}, {"N", 128}, {"K", 512}}, .dtypes = {{"y", DType::bf16}}});
    for (int64_t T : {1, 9})
      list.push_back({.dims = {{"T", T}, {"N", 32}, {"K", 256}},
                      .dtypes = {{"y", DType::f32}},
                      .note = "extreme scales"});
    for (int64_t T : {1, 2, 4, 8, 64, 512})
      for (auto [N, K] : {std::pair<int64_t, int64_t>{2048, 4096}, {4096, 2048}})
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
