// SPDX-License-Identifier: Apache-2.0
// One linear layer a group of heads: attention's first output projection, wo_a.
#pragma once

#include <utility>

#include "tessera/ops/gemm/kernels/product.h"

namespace tessera::ops {

struct GemmBf16Grouped {
  static Signature signature() {
    return {
        .name = "gemm_bf16_grouped",
        .family = "gemm",
        .rows = "17",
        .summary = "matrix product for each group, bf16 or e4m3 weights",
        .formula =
            "y[t,g,n] = sum_k x[t,g,k] w[g,n,k] w_scale[g,n/128,k/128], sum in f32, one rounding "
            "to y. "
            "x bf16 or f32 [T,G,K], w [G,N,K] bf16 (no scale) or e4m3 (e8m0 scales); e4m3 x 2^k is "
            "exact "
            "in bf16.",
        .source = "model.py:541 einsum('bsgd,grd->bsgr', o, wo_a)",
        .tensors = {in("x", "T,G,K", {DType::bf16, DType::f32}),
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
    const DType y_dtype = b.dtype("y");
    const gemm::WeightFormat f = b.has("w_scale") ? gemm::kFp8 : gemm::kBf16;
    const gemm::Blocking t = gemm::blocking(b.caps(), b.product_class("T"), b.dim("K"),
                                            gemm::products_of(b.dtype("x"), f));
    std::vector<int64_t> grid = gemm::grid(t, b.dim("T"), b.dim("N"));
    grid.push_back(b.dim("G"));
    std::vector<Arg> args = b.tensors({"w", "w_scale"});
    args.push_back(by_group(b.tensor("x")));
    args.push_back(by_group(b.tensor("y")));
    b.kernel_named("product", grid, args, [=](KernelBuilder& k, const NamedViews& v) {
      const View &x = v["x"], &w = v["w"], &y = v["y"];
      const auto [m, first] = gemm::start(k, t);
      const Tile g = k.program_id(2);
      gemm::walk_weights(
          k, t, first, w.extent(1), w.extent(2), DType::f32,
          [&](Tile n, Tile k0, Tile acc) {
            return dot_scaled({load(x, {g, m, k0}, {t.m, t.k}), {}},
                              gemm::weights(f, v, "w", g, g, n, k0, t), acc);
          },
          [&](Tile n, Tile sum) { store(y, {g, m, n}, cast(sum, y_dtype)); });
    });
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), G = r.dim("G"), N = r.dim("N"), K = r.dim("K");
    const auto x = gemm::decoded(r.in("x"));
    const auto w = gemm::decoded(r, "w", 128, 128);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t g = 0; g < G; ++g)
        for (int64_t n = 0; n < N; ++n) {
          const auto sum = gemm::dot_sum(&x[(t * G + g) * K], &w[(g * N + n) * K], K);
          r.out("y").set({t, g, n}, sum.value, sum.magnitude);
        }
  }

  static void fill(Inputs& in) { gemm::fill_scales(in, "w_scale"); }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const DType bf16 = DType::bf16, f32 = DType::f32;
    const auto wide = [](DType x, DType y) {
      return Types{{"x", x}, {"w", DType::bf16}, {"y", y}};
    };
    const auto native = [](DType x, DType y) {
      return Types{{"x", x}, {"w", DType::f8e4m3}, {"w_scale", DType::f8e8m0}, {"y", y}};
    };
    std::vector<Case> list;
    for (DType x : {bf16, f32})
      for (int64_t T : {0, 1, 2, 3, 8, 9, 65}) {
        list.push_back(
            {.dims = {{"T", T}, {"G", 3}, {"N", 64}, {"K", 128}}, .dtypes = native(x, f32)});
        list.push_back({.dims = {{"T", T}, {"G", 3}, {"N", 33}, {"K", 130}},
                        .dtypes = wide(x, f32),
                        .note = "N, K tail"});
      }
    list.push_back(
        {.dims = {{"T", 2}, {"G", 2}, {"N", 256}, {"K", 384}}, .dtypes = native(bf16, bf16)});
    for (int64_t T : gemm::kBenchTokens) {
      const std::map<std::string, int64_t> dims = {{"T", T}, {"G", 8}, {"N", 1024}, {"K", 4096}};
      list.push_back(bench_case(dims, native(bf16, bf16), {}, "wo_a"));
      list.push_back(bench_case(dims, native(f32, f32), {}, "wo_a"));
      list.push_back(bench_case(dims, wide(bf16, bf16), {}, "wo_a, widened"));
    }
    return list;
  }

  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("x"));
  }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"x", "w", "w_scale"}, "y",
                              2.0 * p.dim("T") * p.dim("G") * p.dim("N") * p.dim("K"));
  }
};

}  // namespace tessera::ops
