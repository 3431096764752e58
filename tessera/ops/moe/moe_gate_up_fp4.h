// SPDX-License-Identifier: Apache-2.0
// The first half of routed FP4 experts for few tokens: both products of a pair's row and the gated
// activation, in one pass.
#pragma once

#include "tessera/ops/moe/kernels/expert_gate_up.h"

namespace tessera::ops {

struct MoeGateUpFp4 {
  static Signature signature() {
    return moe::gate_up_signature("moe_gate_up_fp4", gemm::kFp4, "FP4",
                                  "model.py:597 Expert with fp4_gemm (kernel.py:442)");
  }
  static void plan(PlanBuilder& b) { moe::plan_gate_up(b, gemm::kFp4); }
  static void reference(const Reference& r) { moe::plain_gate_up(r, gemm::kFp4); }
  static void fill(Inputs& in) { moe::fill_gate_up(in); }
  static std::vector<Case> cases() { return moe::gate_up_cases(gemm::kFp4); }
  static Tolerance tolerance(const Problem& p) { return moe::gated_tolerance(p, p.dim("K")); }
  static Cost cost(const Problem& p) { return moe::gate_up_cost(p); }
};

}  // namespace tessera::ops
