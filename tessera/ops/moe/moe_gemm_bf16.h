// SPDX-License-Identifier: Apache-2.0
// Grouped product of routed tokens with bf16 experts.
#pragma once

#include "tessera/ops/moe/kernels/expert_product.h"
#include "tessera/ops/moe/kernels/product_cases.h"

namespace tessera::ops {

struct MoeGemmBf16 {
  static Signature signature() {
    return moe::product_signature("moe_gemm_bf16", gemm::kBf16, "bf16", "",
                                  "model.py:605 Expert with F.linear: experts widened to bf16");
  }
  static void plan(PlanBuilder& b) { moe::plan_expert_product(b, gemm::kBf16); }
  static void reference(const Reference& r) { moe::plain_product(r, gemm::kBf16); }
  static void fill(Inputs& in) { moe::fill_product(in); }
  static std::vector<Case> cases() { return moe::product_cases(gemm::kBf16); }
  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("x"));
  }
  static Cost cost(const Problem& p) { return moe::expert_cost(p); }
};

}  // namespace tessera::ops
