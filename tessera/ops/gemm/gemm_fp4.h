// SPDX-License-Identifier: Apache-2.0
// FP4 linear layer: e2m1 weights as the checkpoint stores them.
#pragma once

#include "tessera/ops/gemm/kernels/product.h"

namespace tessera::ops {

struct GemmFp4 {
  static Signature signature() {
    return {
        .name = "gemm_fp4",
        .family = "gemm",
        .rows = "16",
        .summary = "matrix product with FP4 weights in blocks of 1x32",
        .formula =
            "y[t,n] = sum_k a[t,k] a_scale[t,k/128] w[n,k] w_scale[n,k/32], sum in f32, one "
            "rounding to y. a [T,K] e4m3, bf16 or f32, w e2m1 [N,K] (low nibble = even k), scales "
            "e8m0 (a_scale left out: 1). Products with e4m3 or bf16 are exact.",
        .source = "kernel.py:442 fp4_gemm, model.py:113 linear",
        .tensors = {in("a", "T,K", gemm::activation_dtypes()),
                    gemm::activation_scales("a_scale", "T,K/128"),
                    weight("w", "N,K", {gemm::kFp4.dtype}),
                    weight("w_scale", gemm::kFp4.scale_dims, {DType::f8e8m0}),
                    out("y", "T,N", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) { gemm::plan_product(b, gemm::kFp4, "a"); }

  static void reference(const Reference& r) { gemm::plain_product(r, gemm::kFp4, "a"); }

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
    std::vector<Case> list = gemm::scaled_cases(/*odd_k=*/352);
    for (int64_t T : {1, 9})
      list.push_back(
          {.dims = {{"T", T}, {"N", 32}, {"K", 256}},
           .dtypes = {{"a", DType::f8e4m3}, {"a_scale", DType::f8e8m0}, {"y", DType::f32}},
           .note = "extreme scales"});
    constexpr std::pair<int64_t, int64_t> kExperts[] = {{2048, 4096}, {4096, 2048}};
    gemm::add_scaled_benches(list, kExperts);
    return list;
  }

  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("a"),
                               p.dtype("a") == DType::f8e4m3 && p.dim("T") > 64);
  }

  static Cost cost(const Problem& p) { return gemm::linear_cost(p, "a"); }
};

}  // namespace tessera::ops
