// SPDX-License-Identifier: Apache-2.0
// One linear layer a group of heads: attention's first output projection, wo_a.
#pragma once

#include <utility>

#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::ops {

struct GemmBf16Grouped {
  static Signature signature() {
    return {
        .name = "gemm_bf16_grouped",
        .family = "gemm",
        .rows = "17",
        .summary = "matrix product for each group, bf16 activations, bf16 or e4m3 weights",
        .formula =
            "y[t,g,n] = sum_k x[t,g,k] w[g,n,k] w_scale[g,n/128,k/128], sum in f32, one rounding "
            "to y. "
            "x bf16 [T,G,K], w [G,N,K] bf16 (no scale) or e4m3 (e8m0 scales); e4m3 x 2^k is exact "
            "in bf16.",
        .source = "model.py:541 einsum('bsgd,grd->bsgr', o, wo_a)",
        .tensors = {in("x", "T,G,K", {DType::bf16}),
                    weight("w", "G,N,K", {DType::bf16, DType::f8e4m3}),
                    optional(weight("w_scale", "G,N/128,K/128", {DType::f8e8m0})),
                    out("y", "T,G,N", {DType::bf16, DType::f32})},
    };
  }

  /// x [T, G, K] as [G, T, K], without a copy.
  static Arg by_group(Arg x) {
    std::swap(x.shape[0], x.shape[1]);
    std::swap(x.strides[0], x.strides[1]);
    const bool first = x.dynamic[0];
    x.dynamic[0] = x.dynamic[1];
    x.dynamic[1] = first;
    return x;
  }

  static void plan(PlanBuilder& b) {
    const gemm::Blocking t = gemm::blocking(b.caps(), b.m_class("T"));
    const DType y_dtype = b.dtype("y");
    std::vector<int64_t> grid = gemm::grid(t, b.dim("T"), b.dim("N"));
    grid.push_back(b.dim("G"));
    const Arg x = by_group(b.tensor("x")), w = b.tensor("w"), y = by_group(b.tensor("y"));
    // `weights(g, n, k0)`: a tile of w with its scale.
    auto body = [=](KernelBuilder& k, const View& x, const View& w, const View& y, auto weights) {
      const auto [m, first] = gemm::start(k, t);
      const Tile g = k.program_id(2);
      gemm::walk_weights(
          k, t, first, w.extent(1), w.extent(2), DType::f32,
          [&](Tile n, Tile k0, Tile acc) {
            return dot_scaled({load(x, {g, m, k0}, {t.m, t.k}), {}}, weights(g, n, k0), acc);
          },
          [&](Tile n, Tile sum) { store(y, {g, m, n}, cast(sum, y_dtype)); });
    };
    if (b.has("w_scale")) {
      b.kernel("product", grid, {x, w, b.tensor("w_scale"), y},
               [=](KernelBuilder& k, View x, View w, View w_scale, View y) {
                 body(k, x, w, y, [&](Tile g, Tile n, Tile k0) {
                   return gemm::fp8_weights(w, w_scale, g, n, k0, t);
                 });
               });
    } else {
      b.kernel("product", grid, {x, w, y}, [=](KernelBuilder& k, View x, View w, View y) {
        body(k, x, w, y, [&](Tile g, Tile n, Tile k0) {
          return lang::ScaledOperand{load(w, {g, n, k0}, {t.n, t.k}), {}};
        });
      });
    }
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), G = r.dim("G"), N = r.dim("N"), K = r.dim("K");
    const auto x = gemm::decoded(r.in("x"));
    const auto w = r.has("w_scale") ? gemm::decoded(r.in("w"), r.in("w_scale"), 128, 128)
                                    : gemm::decoded(r.in("w"));
    for (int64_t t = 0; t < T; ++t)
      for (int64_t g = 0; g < G; ++g)
        for (int64_t n = 0; n < N; ++n) {
          const auto sum = gemm::dot_sum(&x[(t * G + g) * K], &w[(g * N + n) * K], K);
          r.out("y").set({t, g, n}, sum.value, sum.magnitude);
        }
  }

  static void fill(Inputs& in) {
    if (!in.problem().has("w_scale")) return;
    gemm::fill_scales(in, "w_scale");
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    const std::map<std::string, DType> wide = {{"w", DType::bf16}, {"y", DType::f32}};
    const std::map<std::string, DType> native = {
        {"w", DType::f8e4m3}, {"w_scale", DType::f8e8m0}, {"y", DType::f32}};
    for (int64_t T : {0, 1, 2, 3, 8, 9, 65}) {
      list.push_back({.dims = {{"T", T}, {"G", 3}, {"N", 64}, {"K", 128}}, .dtypes = native});
      list.push_back({.dims = {{"T", T}, {"G", 3}, {"N", 33}, {"K", 130}},
                      .dtypes = wide,
                      .note = "N, K tail"});
    }
    list.push_back(
        {.dims = {{"T", 2}, {"G", 2}, {"N", 256}, {"K", 384}},
         .dtypes = {{"w", DType::f8e4m3}, {"w_scale", DType::f8e8m0}, {"y", DType::bf16}}});
    for (int64_t T : {1, 2, 4, 8, 64, 512}) {
      const std::map<std::string, int64_t> dims = {{"T", T}, {"G", 8}, {"N", 1024}, {"K", 4096}};
      list.push_back(
          bench_case(dims, {{"w", DType::f8e4m3}, {"w_scale", DType::f8e8m0}, {"y", DType::bf16}},
                     {}, "wo_a"));
      list.push_back(
          bench_case(dims, {{"w", DType::bf16}, {"y", DType::bf16}}, {}, "wo_a, widened"));
    }
    return list;
  }

  static Tolerance tolerance(const Problem& p) { return gemm::dot_tolerance(p.dim("K")); }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"x", "w", "w_scale"}, "y",
                              2.0 * p.dim("T") * p.dim("G") * p.dim("N") * p.dim("K"));
  }
};

}  // namespace tessera::ops
