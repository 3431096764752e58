// SPDX-License-Identifier: Apache-2.0
// The shared expert, or any expert with FP8 weights: two products, SwiGLU, quantisation, product.
#pragma once

#include <cmath>

#include "tessera/base/float_formats.h"
#include "tessera/ops/moe/kernels/gate_up.h"

namespace tessera::ops {

struct SharedExpert {
  static Signature signature() {
    return {
        .name = "shared_expert",
        .family = "moe",
        .rows = "61",
        .summary = "feed-forward block with FP8 weights and clamped SwiGLU",
        .formula =
            "g = x w1^T, u = x w3^T [T,I] as gemm_fp8; h = silu(min(g, limit)) clamp(u, +-limit) "
            "in f32; y = h w2^T [T,D] as gemm_fp8. x [T,D] e4m3 with e8m0 scales a 128, bf16 or "
            "f32. g, u and h are rounded to bf16 (x f32: not), and with x e4m3 h is quantised per "
            "128: s = 2^ceil(log2(max(amax, 1e-4) / 448)), e4m3(clamp(h / s, +-448)). w1, w3 "
            "[I,D], w2 [D,I] e4m3 with e8m0 scales a 128x128 block. limit 0: no clamp.",
        .source =
            "model.py:597 Expert (with the later revision's clamp of the shared expert), "
            "kernel.py:41, :204",
        .tensors = moe::gate_up_tensors({weight("w2", "D,I", {DType::f8e4m3}),
                                         weight("w2_scale", "D/128,I/128", {DType::f8e8m0}),
                                         out("y", "T,D", {DType::bf16, DType::f32})}),
        .attributes = {{"limit", 10}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t T = b.dim("T"), D = b.dim("D"), I = b.dim("I");
    const bool quantised = b.dtype("x") == DType::f8e4m3;
    const DType inner = quantised ? DType::bf16 : b.dtype("x");
    std::vector<Arg> h = {b.workspace("h", b.dtype("x"), {T, I}, {true, false})};
    if (quantised)
      h.push_back(b.workspace("h_scale", DType::f8e8m0, {T, (I + 127) / 128}, {true, false}));
    if (b.m_class("T") > 1) {
      const Arg gate_up = b.workspace("gate_up", inner, {2, T, I}, {false, true, false});
      moe::plan_gate_and_up(b, gate_up);
      moe::plan_activation(b, gate_up, h);
    } else if (quantised) {
      const Arg plain = b.workspace("h_plain", inner, {T, I}, {true, false});
      moe::plan_gated_row(b, plain);
      moe::plan_activation(b, plain, h);
    } else {
      moe::plan_gated_row(b, h[0]);
    }
    std::vector<Arg> args = b.tensors({"w2", "w2_scale", "y"});
    for (const Arg& arg : h) args.push_back(arg.with_access(Access::kRead));
    const gemm::Blocking t = moe::expert_blocking(b, I);
    const DType y_dtype = b.dtype("y");
    b.kernel_named("down", gemm::grid(t, T, D), args, [=](KernelBuilder& k, const NamedViews& v) {
      const auto [m, first] = gemm::start(k, t);
      moe::expert_sums(k, t, v, "h", "w2", m, first,
                       [&](Tile n, Tile sum) { store(v["y"], {m, n}, cast(sum, y_dtype)); });
    });
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), D = r.dim("D"), I = r.dim("I");
    const bool rounded = r.in("x").dtype() != DType::f32;
    const auto x = gemm::decoded(r, "x", 1, 128);
    const auto w1 = gemm::decoded(r, "w1", 128, 128), w3 = gemm::decoded(r, "w3", 128, 128),
               w2 = gemm::decoded(r, "w2", 128, 128);
    auto round = [&](double v) {
      return rounded ? static_cast<double>(decode_bf16(encode_bf16(v))) : v;
    };
    std::vector<double> h(static_cast<size_t>(I));
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < I; ++i)
        h[i] = round(SwigluClamp::expected(round(gemm::dot_sum(&x[t * D], &w1[i * D], D).value),
                                           round(gemm::dot_sum(&x[t * D], &w3[i * D], D).value), 1,
                                           r.attribute("limit")));
      if (r.in("x").dtype() == DType::f8e4m3) RmsNormQuant::quantise(h);
      for (int64_t d = 0; d < D; ++d) {
        const auto sum = gemm::dot_sum(h.data(), &w2[d * I], I);
        r.out("y").set({t, d}, sum.value, sum.magnitude);
      }
    }
  }

  static void fill(Inputs& in) {
    const auto fill_near_one = [&](const char* name) {
      if (!in.problem().has(name)) return;
      HostTensor& s = in.tensor(name);
      for (int64_t i = 0; i < s.numel(); ++i)
        s.set_flat(i, std::ldexp(1.0, static_cast<int>(in.integer(-1, 1))));
    };
    fill_near_one("x_scale");
    moe::fill_gated_scales(in, in.problem().dim("D"));
    fill_near_one("w2_scale");
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const DType f32 = DType::f32, bf16 = DType::bf16;
    const auto native = [](DType y) {
      return Types{{"x", DType::f8e4m3}, {"x_scale", DType::f8e8m0}, {"y", y}};
    };
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 8, 9})
      list.push_back({.dims = {{"T", T}, {"D", 128}, {"I", 256}}, .dtypes = native(f32)});
    for (int64_t T : {1, 5}) {
      list.push_back({.dims = {{"T", T}, {"D", 256}, {"I", 128}},
                      .dtypes = native(f32),
                      .note = moe::kClamped});
      list.push_back({.dims = {{"T", T}, {"D", 128}, {"I", 256}},
                      .dtypes = native(bf16),
                      .note = moe::kClamped});
    }
    list.push_back({.dims = {{"T", 2}, {"D", 256}, {"I", 128}},
                    .dtypes = native(bf16),
                    .attributes = {{"limit", 0}},
                    .note = moe::kClamped});
    // A low limit shows that the gate is clamped on one side only.
    list.push_back({.dims = {{"T", 2}, {"D", 256}, {"I", 128}},
                    .dtypes = native(f32),
                    .attributes = {{"limit", 1}},
                    .note = moe::kClamped});
    for (DType x : {bf16, f32})
      for (int64_t T : {1, 5, 9, 65})
        list.push_back({.dims = {{"T", T}, {"D", 256}, {"I", 200}},
                        .dtypes = {{"x", x}, {"y", x}},
                        .note = moe::kClamped});
    for (int64_t T : gemm::kBenchTokens)
      for (const Types& types : {native(bf16), Types{{"x", bf16}, {"y", bf16}}})
        list.push_back(bench_case({{"T", T}, {"D", 4096}, {"I", 2048}}, types));
    return list;
  }

  /// A sum that rounds to the other bf16 neighbour may move an element of q by one e4m3 step, 1/8
  /// of its value (1/256 without quantisation); that element may be four times the mean. Losing a
  /// mean term is twice as much. In f32: three sums, and exp with arguments up to 20.
  static Tolerance tolerance(const Problem& p) {
    if (p.dtype("x") == DType::f32)
      return {.scaled = 3 * gemm::dot_tolerance(p.dim("D") + p.dim("I"), DType::f32).scaled + 4e-6};
    return {.scaled = 0.5 / static_cast<double>(std::max<int64_t>(1, p.dim("I")))};
  }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(
        p, {"x", "x_scale", "w1", "w1_scale", "w3", "w3_scale", "w2", "w2_scale"}, "y",
        6.0 * static_cast<double>(p.dim("T") * p.dim("D") * p.dim("I")));
  }
};

}  // namespace tessera::ops
