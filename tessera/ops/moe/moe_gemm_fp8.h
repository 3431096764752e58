// SPDX-License-Identifier: Apache-2.0
// Grouped product of routed tokens with FP8 experts.
#pragma once

#include "tessera/ops/moe/kernels/expert_product.h"

namespace tessera::ops {

struct MoeGemmFp8 {
  static Signature signature() {
    return {
        .name = "moe_gemm_fp8",
        .family = "moe",
        .rows = "57",
        .summary = "each routed pair's row times its expert's FP8 matrix",
        .formula =
            "for every slot s of a used tile g = s / block with pair p = slots[s] >= 0, e = "
            "tile_expert[g]: "
            "y[p,n] = sum_k x[p/fan,k] x_scale[p/fan,k/128] w[e,n,k] w_scale[e,n/128,k/128], sum "
            "in f32, "
            "one rounding to y. x e4m3 [R,K] (fan = pairs a row: experts per token before w1 and "
            "w3, 1 before "
            "w2), w e4m3 [E,N,K], scales e8m0. Rows of y without a slot keep their value.",
        .source = "model.py:605 Expert with fp8_gemm (kernel.py:204): experts re-scaled to e4m3",
        .tensors = moe::product_tensors(
            {in("x", "R,K", {DType::f8e4m3}), in("x_scale", "R,K/128", {DType::f8e8m0}),
             weight("w", "E,N,K", {DType::f8e4m3}),
             weight("w_scale", "E,N/128,K/128", {DType::f8e8m0})},
            {DType::bf16, DType::f32}),
        .attributes = {{"block", 1}, {"fan", 1}},
        .dynamic_dims = {"R", "P", "S", "G"},
    };
  }

  static void plan(PlanBuilder& b) {
    const moe::ProductSizes z = moe::product_sizes(b);
    b.kernel(
        "product", moe::product_grid(z, b),
        {b.tensor("x"), b.tensor("x_scale"), b.tensor("w"), b.tensor("w_scale"), b.tensor("slots"),
         b.tensor("tile_expert"), b.tensor("tile_count"), b.tensor("y")},
        [=](KernelBuilder& k, View x, View x_scale, View w, View w_scale, View slots,
            View tile_expert, View tile_count, View y) {
          moe::expert_product(
              k, z, w, slots, tile_expert, tile_count, y,
              [&](Tile rows, Tile k0) { return moe::scaled_rows(x, x_scale, rows, k0, z.tile); },
              [&](Tile e, Tile n, Tile k0) {
                return gemm::fp8_weights(w, w_scale, e, n, k0, z.tile);
              });
        });
  }

  static void reference(const Reference& r) {
    moe::plain_product(r, gemm::decoded(r.in("x"), r.in("x_scale"), 1, 128),
                       gemm::decoded(r.in("w"), r.in("w_scale"), 128, 128));
  }

  static void fill(Inputs& in) {
    moe::fill_alignment(in);
    gemm::fill_scales(in, "x_scale");
    gemm::fill_scales(in, "w_scale");
  }

  static std::vector<Case> cases() { return moe::product_cases({}, 128); }

  static Tolerance tolerance(const Problem& p) { return gemm::dot_tolerance(p.dim("K")); }

  static Cost cost(const Problem& p) { return moe::expert_cost(p); }
};

}  // namespace tessera::ops
