// SPDX-License-Identifier: Apache-2.0
// Grouped product of routed tokens with FP8 experts.
#pragma once

#include "tessera/ops/moe/kernels/expert_product.h"
#include "tessera/ops/moe/kernels/product_cases.h"

namespace tessera::ops {

struct MoeGemmFp8 {
  static Signature signature() {
    return moe::product_signature(
        "moe_gemm_fp8", gemm::kFp8, "FP8", " w_scale[e,n/128,k/128]",
        "model.py:605 Expert with fp8_gemm (kernel.py:204): experts re-scaled to e4m3");
  }
  static void plan(PlanBuilder& b) { moe::plan_expert_product(b, gemm::kFp8); }
  static void reference(const Reference& r) { moe::plain_product(r, gemm::kFp8); }
  static void fill(Inputs& in) { moe::fill_product(in); }
  static std::vector<Case> cases() { return moe::product_cases(gemm::kFp8); }
  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("x"), moe::rounds_products(p));
  }
  static Cost cost(const Problem& p) { return moe::expert_cost(p); }
};

}  // namespace tessera::ops
