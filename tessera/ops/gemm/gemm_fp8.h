// SPDX-License-Identifier: Apache-2.0
// FP8 linear layer: e4m3 weights as the checkpoint stores them.
#pragma once

#include <limits>

#include "tessera/ops/gemm/kernels/product.h"

namespace tessera::ops {

struct GemmFp8 {
  static Signature signature() {
    return {
        .name = "gemm_fp8",
        .family = "gemm",
        .rows = "15",
        .summary = "matrix product with FP8 weights in blocks of 128x128",
        .formula =
            "y[t,n] = sum_k a[t,k] a_scale[t,k/128] w[n,k] w_scale[n/128,k/128], sum in f32, one "
            "rounding to y. a [T,K] e4m3, bf16 or f32, w e4m3 [N,K], scales e8m0 (powers of two; "
            "a_scale left out: 1). Products with e4m3 or bf16 are exact.",
        .source = "kernel.py:204 fp8_gemm, model.py:113 linear",
        .tensors = {in("a", "T,K", gemm::activation_dtypes()),
                    gemm::activation_scales("a_scale", "T,K/128"),
                    weight("w", "N,K", {gemm::kFp8.dtype}),
                    weight("w_scale", gemm::kFp8.scale_dims, {DType::f8e8m0}),
                    out("y", "T,N", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) { gemm::plan_product(b, gemm::kFp8, "a"); }

  static void reference(const Reference& r) { gemm::plain_product(r, gemm::kFp8, "a"); }

  static void fill(Inputs& in) {
    gemm::fill_scales(in, "a_scale");
    gemm::fill_scales(in, "w_scale");
    if (in.test_case().note != "NaN weights") return;
    HostTensor& w = in.tensor("w");
    for (int64_t n = 0; n < in.problem().dim("N"); n += 5)
      w.set({n, 7 * n % in.problem().dim("K")}, std::numeric_limits<double>::quiet_NaN());
  }

  static std::vector<Case> cases() {
    std::vector<Case> list = gemm::scaled_cases(/*odd_k=*/384);
    for (int64_t T : {9, 65})
      for (DType a : {DType::f8e4m3, DType::bf16})
        list.push_back({.dims = {{"T", T}, {"N", 128}, {"K", 256}},
                        .dtypes = {{"a", a}, {"y", DType::f32}},
                        .note = "NaN weights"});
    gemm::add_scaled_benches(list, gemm::kFlashLinears);
    return list;
  }

  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("a"),
                               p.dtype("a") == DType::f8e4m3 && p.dim("T") > 64);
  }

  static Cost cost(const Problem& p) { return gemm::linear_cost(p, "a"); }
};

}  // namespace tessera::ops
