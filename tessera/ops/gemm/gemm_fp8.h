// SPDX-License-Identifier: Apache-2.0
// FP8 linear layer: e4m3 weights as the checkpoint stores them.
#pragma once

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
  }

  static std::vector<Case> cases() {
    std::vector<Case> list = gemm::scaled_cases(/*odd_k=*/384);
    gemm::add_scaled_benches(list, gemm::kFlashLinears);
    return list;
  }

  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("a"));
  }

  static Cost cost(const Problem& p) { return gemm::linear_cost(p, "a"); }
};

}  // namespace tessera::ops
