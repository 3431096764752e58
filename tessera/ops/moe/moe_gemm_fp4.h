// SPDX-License-Identifier: Apache-2.0
// Grouped product of routed tokens with FP4 experts.
#pragma once

#include "tessera/ops/moe/kernels/expert_product.h"
#include "tessera/ops/moe/kernels/product_cases.h"

namespace tessera::ops {

struct MoeGemmFp4 {
  static Signature signature() {
    return moe::product_signature("moe_gemm_fp4", gemm::kFp4, "FP4", " w_scale[e,n,k/32]",
                                  "model.py:605 Expert.w1, w3, w2 with fp4_gemm (kernel.py:442)");
  }
  static void plan(PlanBuilder& b) { moe::plan_expert_product(b, gemm::kFp4); }
  static void reference(const Reference& r) { moe::plain_product(r, gemm::kFp4); }
  static void fill(Inputs& in) { moe::fill_product(in); }
  static std::vector<Case> cases() { return moe::product_cases(gemm::kFp4); }
  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("x"), moe::rounds_products(p));
  }
  static Cost cost(const Problem& p) { return moe::expert_cost(p); }
};

}  // namespace tessera::ops
