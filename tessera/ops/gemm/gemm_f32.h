// SPDX-License-Identifier: Apache-2.0
// Linear layer in f32 whatever the storage: router, compressor, mHC mixes, language-model head.
#pragma once

#include <tuple>

#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::ops {

struct GemmF32 {
  static Signature signature() {
    return {
        .name = "gemm_f32",
        .family = "gemm",
        .rows = "19,49,63",
        .summary = "matrix product in f32; bf16 operands are widened exactly",
        .formula =
            "y[t,n] = sum_k x[t,k] w[n,k] in f32 (no TF32). x [T,K] and w [N,K] f32 or bf16, y f32 "
            "[T,N].",
        .source =
            "model.py:325 compressor, model.py:565 gate, model.py:717 head: linear(x.float(), "
            "w.float())",
        .tensors = {in("x", "T,K", {DType::f32, DType::bf16}),
                    weight("w", "N,K", {DType::f32, DType::bf16}), out("y", "T,N", {DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    const gemm::Blocking t = gemm::blocking(b.caps(), b.m_class("T"));
    // Products of two bf16 numbers are exact in f32, so that pair needs no widening.
    const bool widen = b.dtype("x") != DType::bf16 || b.dtype("w") != DType::bf16;
    b.kernel("product", gemm::grid(t, b.dim("T"), b.dim("N")),
             {b.tensor("x"), b.tensor("w"), b.tensor("y")},
             [=](KernelBuilder& k, View x, View w, View y) {
               const auto [m, first] = gemm::start(k, t);
               gemm::walk_weights(
                   k, t, first, w.extent(0), w.extent(1), DType::f32,
                   [&](Tile n, Tile k0, Tile acc) {
                     Tile left = load(x, {m, k0}, {t.m, t.k}), right = load(w, {n, k0}, {t.n, t.k});
                     return widen ? dot(cast(left, DType::f32), cast(right, DType::f32), acc)
                                  : dot(left, right, acc);
                   },
                   [&](Tile n, Tile sum) { store(y, {m, n}, sum); });
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
    const DType f32 = DType::f32, bf16 = DType::bf16;
    for (int64_t T : {0, 1, 2, 3, 8, 9, 65})
      list.push_back(
          {.dims = {{"T", T}, {"N", 64}, {"K", 256}}, .dtypes = {{"x", f32}, {"w", f32}}});
    for (int64_t T : {1, 5, 17}) {
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", f32}, {"w", f32}},
                      .note = "tails"});
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", f32}, {"w", bf16}},
                      .note = "tails"});
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", bf16}, {"w", f32}},
                      .note = "tails"});
      list.push_back({.dims = {{"T", T}, {"N", 37}, {"K", 333}},
                      .dtypes = {{"x", bf16}, {"w", bf16}},
                      .note = "tails"});
    }
    list.push_back({.dims = {{"T", 1}, {"N", 24}, {"K", 2048}},
                    .dtypes = {{"x", bf16}, {"w", f32}},
                    .note = "mix"});
    for (int64_t T : {1, 2, 4, 8, 64, 512})
      for (auto [N, K, w, note] :
           {std::tuple<int64_t, int64_t, DType, const char*>{256, 4096, bf16, "router"},
            {1024, 4096, bf16, "compressor, ratio 4"},
            {512, 4096, bf16, "compressor, ratio 128"},
            {24, 16384, f32, "mHC mix"}})
        list.push_back(
            bench_case({{"T", T}, {"N", N}, {"K", K}}, {{"x", bf16}, {"w", w}}, {}, note));
    for (int64_t T : {1, 8})
      list.push_back(bench_case({{"T", T}, {"N", 129280}, {"K", 4096}}, {{"x", bf16}, {"w", bf16}},
                                {}, "head"));
    for (int64_t T : {256, 1024})
      list.push_back(
          bench_case({{"T", T}, {"N", 1024}, {"K", 1024}}, {{"x", f32}, {"w", f32}}, {}, "square"));
    return list;
  }

  /// Inputs are wider than in bf16: every product rounds as well, which doubles the roundings.
  static Tolerance tolerance(const Problem& p) {
    Tolerance tolerance = gemm::dot_tolerance(p.dim("K"));
    tolerance.scaled *= 2;
    return tolerance;
  }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"x", "w"}, "y", 2.0 * p.dim("T") * p.dim("N") * p.dim("K"));
  }
};

}  // namespace tessera::ops
