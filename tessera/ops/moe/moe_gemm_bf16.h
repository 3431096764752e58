// SPDX-License-Identifier: Apache-2.0
// Grouped product of routed tokens with bf16 experts.
#pragma once

#include "tessera/ops/moe/kernels/expert_product.h"

namespace tessera::ops {

struct MoeGemmBf16 {
  static Signature signature() {
    return {
        .name = "moe_gemm_bf16",
        .family = "moe",
        .rows = "57",
        .summary = "each routed pair's row times its expert's bf16 matrix",
        .formula =
            "for every slot s of a used tile g = s / block with pair p = slots[s] >= 0, e = "
            "tile_expert[g]: "
            "y[p,n] = sum_k x[p/fan,k] w[e,n,k], sum in f32, one rounding to y. x bf16 [R,K] (fan "
            "= pairs a "
            "row: experts per token before w1 and w3, 1 before w2), w bf16 [E,N,K]. Rows of y "
            "without a slot "
            "keep their value.",
        .source = "model.py:605 Expert with F.linear: experts widened to bf16",
        .tensors = moe::product_tensors(
            {in("x", "R,K", {DType::bf16}), weight("w", "E,N,K", {DType::bf16})},
            {DType::bf16, DType::f32}),
        .attributes = {{"block", 1}, {"fan", 1}},
        .dynamic_dims = {"R", "P", "S", "G"},
    };
  }

  static void plan(PlanBuilder& b) {
    const moe::ProductSizes z = moe::product_sizes(b);
    b.kernel("product", moe::product_grid(z, b),
             {b.tensor("x"), b.tensor("w"), b.tensor("slots"), b.tensor("tile_expert"),
              b.tensor("tile_count"), b.tensor("y")},
             [=](KernelBuilder& k, View x, View w, View slots, View tile_expert, View tile_count,
                 View y) {
               using lang::ScaledOperand;
               moe::expert_product(
                   k, z, w, slots, tile_expert, tile_count, y,
                   [&](Tile rows, Tile k0) {
                     return ScaledOperand{moe::rows_of(x, rows, k0, z.tile.k), {}};
                   },
                   [&](Tile e, Tile n, Tile k0) {
                     return ScaledOperand{load(w, {e, n, k0}, {z.tile.n, z.tile.k}), {}};
                   });
             });
  }

  static void reference(const Reference& r) {
    moe::plain_product(r, gemm::decoded(r.in("x")), gemm::decoded(r.in("w")));
  }

  static void fill(Inputs& in) { moe::fill_alignment(in); }

  static std::vector<Case> cases() { return moe::product_cases({}, 68); }

  static Tolerance tolerance(const Problem& p) { return gemm::dot_tolerance(p.dim("K")); }

  static Cost cost(const Problem& p) { return moe::expert_cost(p); }
};

}  // namespace tessera::ops
