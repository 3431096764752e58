// SPDX-License-Identifier: Apache-2.0
// Linear layer with bf16 weights.
#pragma once

#include "tessera/ops/gemm/kernels/product.h"

namespace tessera::ops {

struct GemmBf16 {
  static Signature signature() {
    return {
        .name = "gemm_bf16",
        .family = "gemm",
        .rows = "18,19",
        .summary = "matrix product with bf16 weights",
        .formula =
            "y[t,n] = sum_k x[t,k] w[n,k], sum in f32, one rounding to y. x bf16 or f32 [T,K], w "
            "bf16 [N,K], widened exactly.",
        .source = "model.py:418 weights_proj, model.py:113 linear",
        .tensors = {in("x", "T,K", {DType::bf16, DType::f32}), weight("w", "N,K", {DType::bf16}),
                    out("y", "T,N", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) { gemm::plan_product(b, gemm::kBf16, "x"); }

  static void reference(const Reference& r) { gemm::plain_product(r, gemm::kBf16, "x"); }

  static std::vector<Case> cases() {
    const DType f32 = DType::f32, bf16 = DType::bf16;
    std::vector<Case> list;
    for (DType x : {bf16, f32}) {
      for (int64_t T : {0, 1, 2, 3, 8, 9, 65, 200})
        list.push_back(
            {.dims = {{"T", T}, {"N", 64}, {"K", 256}}, .dtypes = {{"x", x}, {"y", f32}}});
      for (int64_t T : {1, 5, 17})
        list.push_back({.dims = {{"T", T}, {"N", 131}, {"K", 333}},
                        .dtypes = {{"x", x}, {"y", f32}},
                        .note = "N, K tail"});
      for (int64_t T : {1, 7})
        list.push_back({.dims = {{"T", T}, {"N", 1}, {"K", 1}},
                        .dtypes = {{"x", x}, {"y", bf16}},
                        .note = "one element"});
      list.push_back(
          {.dims = {{"T", 6}, {"N", 64}, {"K", 512}}, .dtypes = {{"x", x}, {"y", bf16}}});
    }
    list.push_back({.dims = {{"T", 130}, {"N", 17200}, {"K", 64}},
                    .dtypes = {{"x", bf16}, {"y", bf16}},
                    .note = "more tiles than a GPU has multiprocessors"});
    for (int64_t T : gemm::kBenchTokens)
      for (DType x : {bf16, f32}) {
        list.push_back(bench_case({{"T", T}, {"N", 64}, {"K", 4096}}, {{"x", x}, {"y", x}}, {},
                                  "weights_proj"));
        list.push_back(bench_case({{"T", T}, {"N", 1024}, {"K", 4096}}, {{"x", x}, {"y", f32}}, {},
                                  "compressor, ratio 4"));
      }
    for (int64_t T : {256, 1024})
      list.push_back(bench_case({{"T", T}, {"N", 1024}, {"K", 1024}}, {{"x", bf16}, {"y", bf16}},
                                {}, "square"));
    list.push_back(bench_case({{"T", 4096}, {"N", 4096}, {"K", 4096}}, {{"x", bf16}, {"y", bf16}},
                              {}, "square"));
    for (auto [N, K] : gemm::kFlashLinears)
      if (N * K >= 8192 * 1024)
        list.push_back(bench_case({{"T", 4096}, {"N", N}, {"K", K}}, {{"x", bf16}, {"y", bf16}}, {},
                                  "Flash, widened"));
    return list;
  }

  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("x"));
  }

  static Cost cost(const Problem& p) { return gemm::linear_cost(p, "x"); }
};

}  // namespace tessera::ops
