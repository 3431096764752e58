// SPDX-License-Identifier: Apache-2.0
// Grouped product of routed tokens with INT8 experts.
#pragma once

#include "tessera/ops/moe/kernels/expert_product.h"
#include "tessera/ops/moe/kernels/product_cases.h"

namespace tessera::ops {

struct MoeGemmInt8 {
  static Signature signature() {
    return moe::product_signature("moe_gemm_int8", gemm::kInt8, "INT8", " w_scale[e,n]",
                                  "FlagOS quantize_int8_moe (w8a16): a scale for each output");
  }
  static void plan(PlanBuilder& b) { moe::plan_expert_product(b, gemm::kInt8); }
  static void reference(const Reference& r) { moe::plain_product(r, gemm::kInt8); }
  static void fill(Inputs& in) { moe::fill_product(in); }
  static std::vector<Case> cases() { return moe::product_cases(gemm::kInt8); }
  static Tolerance tolerance(const Problem& p) {
    return gemm::dot_tolerance(p.dim("K"), p.dtype("x"));
  }
  static Cost cost(const Problem& p) { return moe::expert_cost(p); }
};

}  // namespace tessera::ops
