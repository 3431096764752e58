// SPDX-License-Identifier: Apache-2.0
// What the linear layers y = a w^T share: one kernel, one reference, and the shapes of DeepSeek-V4
// Flash to time.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tessera/ops/gemm/kernels/operands.h"
#include "tessera/ops/gemm/kernels/plain_product.h"

namespace tessera::ops::gemm {

/// The kernel of y [T, N]: step(v, t, m, n, k0, acc) adds a tile's products along K, finish(v, t,
/// m, n, sum) gives what is rounded to y. `args` hold w and y besides what these two read.
/// `products`: as for blocking().
template <class Step, class Finish>
void plan_product(PlanBuilder& b, std::vector<Arg> args, DType sum_dtype, Step step, Finish finish,
                  Products products = Products::kWide) {
  const Blocking t = blocking(b.caps(), b.product_class("T"), b.dim("K"), products);
  const DType y_dtype = b.dtype("y");
  b.kernel_named(
      "product", grid(t, b.dim("T"), b.dim("N")), std::move(args),
      [=](KernelBuilder& k, const NamedViews& v) {
        const View &w = v["w"], &y = v["y"];
        const auto [m, first] = start(k, t);
        walk_weights(
            k, t, first, w.extent(0), w.extent(1), sum_dtype,
            [&](Tile n, Tile k0, Tile acc) { return step(v, t, m, n, k0, acc); },
            [&](Tile n, Tile sum) { store(y, {m, n}, cast(finish(v, t, m, n, sum), y_dtype)); });
      });
}

inline Tile as_it_is(const NamedViews&, const Blocking&, Tile, Tile, Tile sum) { return sum; }

/// The same with weights of format `f` and activations named `a`, sums in f32.
inline void plan_product(PlanBuilder& b, const WeightFormat& f, std::string a,
                         std::vector<Arg> args) {
  const auto activation =
      std::find_if(args.begin(), args.end(), [&](const Arg& arg) { return arg.name == a; });
  const Products products = products_of(activation->dtype, f);
  plan_product(
      b, std::move(args), DType::f32,
      [=](const NamedViews& v, const Blocking& t, Tile m, Tile n, Tile k0, Tile acc) {
        return dot_scaled(activations(v, a, m, k0, t), weights(f, v, "w", n, k0, t), acc);
      },
      as_it_is, products);
}
inline void plan_product(PlanBuilder& b, const WeightFormat& f, const std::string& a) {
  plan_product(b, f, a, b.tensors({a, scale_of(a), "w", "w_scale", "y"}));
}

/// y[t, n] = finish(t, n, sum over k of a[t, k] w[n, k]) of decoded operands.
template <class Finish>
void plain_product(const Reference& r, const std::vector<double>& a, const std::vector<double>& w,
                   Finish finish) {
  const int64_t T = r.dim("T"), N = r.dim("N"), K = r.dim("K");
  for (int64_t t = 0; t < T; ++t)
    for (int64_t n = 0; n < N; ++n) {
      const DotSum sum = dot_sum(&a[t * K], &w[n * K], K);
      r.out("y").set({t, n}, finish(t, n, sum.value), sum.magnitude);
    }
}
inline void plain_product(const Reference& r, const WeightFormat& f, const std::string& a) {
  plain_product(r, decoded(r, a, 1, 128), decoded(r, "w", f.scale_rows, f.scale_k),
                [](int64_t, int64_t, double sum) { return sum; });
}

inline Cost linear_cost(const Problem& p, const char* a) {
  return product_cost(p, {a, "a_scale", "w", "w_scale"}, "y",
                      2.0 * p.dim("T") * p.dim("N") * p.dim("K"));
}

/// Token counts of decoding, speculation, batches and prompts.
inline constexpr int64_t kBenchTokens[] = {1, 2, 4, 8, 16, 64, 512, 4096};

/// Linear layers of Flash in FP8, [N, K].
inline constexpr std::pair<int64_t, int64_t> kFlashLinears[] = {
    {1024, 4096}, {32768, 1024}, {512, 4096},  {4096, 8192},
    {8192, 1024}, {2048, 4096},  {4096, 2048}, {4096, 4096}};

/// Tests of a linear layer with block scales: the classes of T, tails of N and K, each kind of
/// activations. f32 results show the loss of a single product, which the rounding to bf16 could
/// hide.
inline std::vector<Case> scaled_cases(int64_t odd_k) {
  using Types = std::map<std::string, DType>;
  const DType f32 = DType::f32, bf16 = DType::bf16, e4m3 = DType::f8e4m3, e8m0 = DType::f8e8m0;
  const Types native = {{"a", e4m3}, {"a_scale", e8m0}, {"y", f32}};
  std::vector<Case> list;
  for (int64_t T : {0, 1, 2, 3, 8, 9, 65})
    list.push_back({.dims = {{"T", T}, {"N", 256}, {"K", 256}}, .dtypes = native});
  for (int64_t T : {1, 5, 17})
    list.push_back(
        {.dims = {{"T", T}, {"N", 131}, {"K", odd_k}}, .dtypes = native, .note = "N, K tail"});
  list.push_back({.dims = {{"T", 1}, {"N", 24}, {"K", 1152}},
                  .dtypes = {{"a", e4m3}, {"a_scale", e8m0}, {"y", bf16}},
                  .note = "K tail"});
  list.push_back({.dims = {{"T", 6}, {"N", 128}, {"K", 512}},
                  .dtypes = {{"a", e4m3}, {"a_scale", e8m0}, {"y", bf16}}});
  for (DType a : {bf16, f32}) {
    for (int64_t T : {1, 2, 8, 9, 65})
      list.push_back(
          {.dims = {{"T", T}, {"N", 256}, {"K", 1024}}, .dtypes = {{"a", a}, {"y", f32}}});
    for (int64_t T : {1, 5, 17})
      list.push_back({.dims = {{"T", T}, {"N", 131}, {"K", odd_k}},
                      .dtypes = {{"a", a}, {"y", a}},
                      .note = "N, K tail"});
  }
  list.push_back({.dims = {{"T", 3}, {"N", 64}, {"K", 256}}, .dtypes = {{"a", e4m3}, {"y", f32}}});
  list.push_back({.dims = {{"T", 3}, {"N", 64}, {"K", 256}},
                  .dtypes = {{"a", bf16}, {"a_scale", e8m0}, {"y", f32}}});
  return list;
}

/// Benchmarks of [N, K] with activations of each precision.
template <class Shapes>
void add_scaled_benches(std::vector<Case>& list, const Shapes& shapes) {
  using Types = std::map<std::string, DType>;
  const DType bf16 = DType::bf16;
  const Types native = {{"a", DType::f8e4m3}, {"a_scale", DType::f8e8m0}, {"y", bf16}};
  for (int64_t T : kBenchTokens)
    for (auto [N, K] : shapes) {
      const std::map<std::string, int64_t> dims = {{"T", T}, {"N", N}, {"K", K}};
      list.push_back(bench_case(dims, native));
      list.push_back(bench_case(dims, {{"a", bf16}, {"y", bf16}}));
    }
}

}  // namespace tessera::ops::gemm
