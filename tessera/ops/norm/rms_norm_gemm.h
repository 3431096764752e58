// SPDX-License-Identifier: Apache-2.0
// RMS norm in front of an FP8 linear layer, as one operator: norm and quantisation of each row
// once, then the product.
#pragma once

#include <optional>
#include <vector>

#include "tessera/ops/gemm/kernels/product.h"
#include "tessera/ops/norm/rms_norm_quant.h"

namespace tessera::ops {

struct RmsNormGemm {
  static Signature signature() {
    return {
        .name = "rms_norm_gemm",
        .family = "norm",
        .rows = "21",
        .summary = "RMS norm, quantisation and FP8 matrix product",
        .formula =
            "z = bf16(x * rsqrt(sum_k x^2 / K + eps) * norm) as rms_norm; (q, s) = act_quant(z); y "
            "= q s w^T as gemm_fp8. x bf16 [T,K], norm [K], w e4m3 [N,K], w_scale e8m0, y [T,N]; z "
            "bf16 [T,K] is written too where asked for.",
        .source = "model.py:183, kernel.py:41, kernel.py:204 (fusion of serving engines)",
        .tensors = {in("x", "T,K", {DType::bf16}), in("norm", "K", {DType::bf16, DType::f32}),
                    weight("w", "N,K", {gemm::kFp8.dtype}),
                    weight("w_scale", gemm::kFp8.scale_dims, {DType::f8e8m0}),
                    out("y", "T,N", {DType::bf16, DType::f32}),
                    optional(out("z", "T,K", {DType::bf16}))},
        .attributes = {{"eps", 1e-6}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t T = b.dim("T"), K = b.dim("K");
    const Arg q = b.workspace("q", DType::f8e4m3, {T, K}, {true, false});
    const Arg q_scale = b.workspace("q_scale", DType::f8e8m0, {T, (K + 127) / 128}, {true, false});
    std::optional<Arg> kept;
    if (b.has("z")) kept = b.tensor("z");
    RmsNormQuant::plan_rows(b, K, b.tensor("x"), b.tensor("norm"), q.with_access(Access::kWrite),
                            q_scale.with_access(Access::kWrite), kept);
    std::vector<Arg> args = b.tensors({"w", "w_scale", "y"});
    args.push_back(q.with_access(Access::kRead));
    args.push_back(q_scale.with_access(Access::kRead));
    gemm::plan_product(b, gemm::kFp8, "q", std::move(args));
  }

  static void reference(const Reference& r) {
    const auto w = gemm::decoded(r, "w", 128, 128);
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      std::vector<double> z = RmsNormQuant::norm(r.in("x"), r.in("norm"), t, r.attribute("eps"));
      for (int64_t k = 0; k < r.dim("K"); ++k) {
        double& value = z[static_cast<size_t>(k)];
        if (r.has("z")) r.out("z").set({t, k}, value);
        value = decode_bf16(encode_bf16(value));
      }
      RmsNormQuant::quantise(z);
      for (int64_t n = 0; n < r.dim("N"); ++n) {
        const auto sum = gemm::dot_sum(z.data(), &w[n * r.dim("K")], r.dim("K"));
        r.out("y").set({t, n}, sum.value, sum.magnitude);
      }
    }
  }

  static void fill(Inputs& in) {
    for (int64_t k = 0; k < in.tensor("norm").numel(); ++k)
      in.tensor("norm").set({k}, in.uniform(0.5, 1.5));
    gemm::fill_scales(in, "w_scale");
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types kept = {{"norm", DType::bf16}, {"y", DType::f32}, {"z", DType::bf16}};
    const Types plain = {{"norm", DType::f32}, {"y", DType::bf16}};
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 9, 65}) list.push_back({{{"T", T}, {"N", 64}, {"K", 512}}, kept});
    for (int64_t T : {1, 5})
      list.push_back({{{"T", T}, {"N", 131}, {"K", 1000}}, plain, {}, false, true, "N, K tail"});
    for (int64_t T : {1, 2, 8, 64, 4096})
      list.push_back(bench_case({{"T", T}, {"N", 32768}, {"K", 1024}},
                                {{"norm", DType::bf16}, {"y", DType::bf16}}, {}, "q_norm, wq_b"));
    return list;
  }

  /// As in shared_expert: an element of q may be one e4m3 step off where bf16 rounds the other way.
  static Tolerance tolerance(const Problem& p) {
    return {.relative = 1e-5,
            .scaled = 0.5 / static_cast<double>(std::max<int64_t>(1, p.dim("K")))};
  }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"x", "norm", "w", "w_scale"}, "y",
                              2.0 * p.dim("T") * p.dim("N") * p.dim("K"));
  }
};

}  // namespace tessera::ops
