// SPDX-License-Identifier: Apache-2.0
// The shared expert, or any expert with FP8 weights: two products, SwiGLU, quantisation, product.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>

#include "tessera/base/float_formats.h"
#include "tessera/ops/activation/swiglu_clamp.h"
#include "tessera/ops/gemm/kernels/product.h"
#include "tessera/ops/norm/rms_norm_quant.h"

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
        .tensors = {in("x", "T,D", gemm::activation_dtypes()),
                    gemm::activation_scales("x_scale", "T,D/128"),
                    weight("w1", "I,D", {DType::f8e4m3}),
                    weight("w1_scale", "I/128,D/128", {DType::f8e8m0}),
                    weight("w3", "I,D", {DType::f8e4m3}),
                    weight("w3_scale", "I/128,D/128", {DType::f8e8m0}),
                    weight("w2", "D,I", {DType::f8e4m3}),
                    weight("w2_scale", "D/128,I/128", {DType::f8e8m0}),
                    out("y", "T,D", {DType::bf16, DType::f32})},
        .attributes = {{"limit", 10}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t T = b.dim("T"), D = b.dim("D"), I = b.dim("I");
    const auto blocking = [&](int64_t k) {
      return gemm::blocking(b.caps(), b.product_class("T"), k,
                            gemm::products_of(b.dtype("x"), gemm::kFp8));
    };
    const gemm::Blocking t = blocking(I);
    const bool quantised = b.dtype("x") == DType::f8e4m3;
    const DType inner = quantised ? DType::bf16 : b.dtype("x");
    const Arg gate_up = b.workspace("gate_up", inner, {2, T, I}, {false, true, false});
    std::vector<Arg> h = {b.workspace("h", b.dtype("x"), {T, I}, {true, false})};
    if (quantised)
      h.push_back(b.workspace("h_scale", DType::f8e8m0, {T, (I + 127) / 128}, {true, false}));
    plan_gate_up(b, blocking(D), gate_up.with_access(Access::kWrite));
    plan_swiglu(b, gate_up.with_access(Access::kRead), h);
    std::vector<Arg> args = b.tensors({"w2", "w2_scale", "y"});
    for (const Arg& arg : h) args.push_back(arg.with_access(Access::kRead));
    const DType y_dtype = b.dtype("y");
    b.kernel_named("down", gemm::grid(t, T, D), args, [=](KernelBuilder& k, const NamedViews& v) {
      const auto [m, first] = gemm::start(k, t);
      product(k, t, v, "h", "w2", m, first,
              [&](Tile n, Tile sum) { store(v["y"], {m, n}, cast(sum, y_dtype)); });
    });
  }

  template <class Emit>
  static void product(KernelBuilder& k, const gemm::Blocking& t, const NamedViews& v,
                      std::string_view a, std::string_view w, Tile m, Tile first, Emit emit) {
    gemm::walk_weights(
        k, t, first, v[w].extent(0), v[w].extent(1), DType::f32,
        [&](Tile n, Tile k0, Tile acc) {
          return dot_scaled(gemm::activations(v, a, m, k0, t),
                            gemm::weights(gemm::kFp8, v, w, n, k0, t), acc);
        },
        emit);
  }

  /// A program works for w1 or for w3, so that each reads one stream.
  static void plan_gate_up(PlanBuilder& b, const gemm::Blocking& t, const Arg& gate_up) {
    std::vector<int64_t> grid = gemm::grid(t, b.dim("T"), b.dim("I"));
    grid.push_back(2);
    std::vector<Arg> args = b.tensors({"x", "x_scale", "w1", "w1_scale", "w3", "w3_scale"});
    args.push_back(gate_up);
    const DType to = gate_up.dtype;
    b.kernel_named("gate_up", grid, args, [=](KernelBuilder& k, const NamedViews& v) {
      const auto [m, first] = gemm::start(k, t);
      const Tile which = k.program_id(2);
      auto emit = [&](Tile n, Tile sum) { store(v["gate_up"], {which, m, n}, cast(sum, to)); };
      k.if_(
          which == 0, [&] { product(k, t, v, "x", "w1", m, first, emit); },
          [&] { product(k, t, v, "x", "w3", m, first, emit); });
    });
  }

  /// `h`: one tensor, or e4m3 codes and their scales.
  static void plan_swiglu(PlanBuilder& b, const Arg& gate_up, const std::vector<Arg>& h) {
    const int64_t T = b.dim("T"), I = b.dim("I");
    const int64_t rows =
        std::min<int64_t>(b.m_class("T"), std::max<int64_t>(1, b.caps().program_grain / 128));
    const double limit = b.attribute("limit");
    const SwigluClamp::Silu silu = SwigluClamp::silu_of(b);
    const DType inner = gate_up.dtype;
    std::vector<Arg> args = {gate_up};
    for (const Arg& arg : h) args.push_back(arg.with_access(Access::kWrite));
    b.kernel_named("swiglu", {(T + rows - 1) / rows, (I + 127) / 128}, args,
                   [=](KernelBuilder& k, const NamedViews& v) {
                     const Tile t = k.program_id(0) * rows, group = k.program_id(1);
                     const auto half = [&](int which) {
                       return to_f32(load(v["gate_up"], {which, t, group * 128}, {rows, 128}));
                     };
                     const Tile h = SwigluClamp::activate(half(0), half(1), limit, silu);
                     if (v.has("h_scale")) {
                       const auto q = ActQuant::quantise(round_to(h, inner));
                       store(v["h"], {t, group * 128}, q.codes);
                       store(v["h_scale"], {t, group},
                             ActQuant::stored_scale(q.exponent, DType::f8e8m0));
                     } else {
                       store(v["h"], {t, group * 128}, cast(h, inner));
                     }
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
    // Gate and up of order 1; "clamped": of order 16.
    const int shift = in.test_case().note == "clamped" ? 4 : 0;
    const int down = std::bit_width(static_cast<uint64_t>(in.problem().dim("D"))) / 2;
    for (const char* name : {"x_scale", "w1_scale", "w3_scale", "w2_scale"}) {
      if (!in.problem().has(name)) continue;
      HostTensor& s = in.tensor(name);
      const int base =
          std::string_view(name).starts_with("w1") || std::string_view(name).starts_with("w3")
              ? shift - down
              : 0;
      for (int64_t i = 0; i < s.numel(); ++i)
        s.set_flat(i, std::ldexp(1.0, base + static_cast<int>(in.integer(-1, 1))));
    }
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
      list.push_back(
          {.dims = {{"T", T}, {"D", 256}, {"I", 128}}, .dtypes = native(f32), .note = "clamped"});
      list.push_back(
          {.dims = {{"T", T}, {"D", 128}, {"I", 256}}, .dtypes = native(bf16), .note = "clamped"});
    }
    list.push_back({.dims = {{"T", 2}, {"D", 256}, {"I", 128}},
                    .dtypes = native(bf16),
                    .attributes = {{"limit", 0}},
                    .note = "clamped"});
    // A low limit shows that the gate is clamped on one side only.
    list.push_back({.dims = {{"T", 2}, {"D", 256}, {"I", 128}},
                    .dtypes = native(f32),
                    .attributes = {{"limit", 1}},
                    .note = "clamped"});
    for (DType x : {bf16, f32})
      for (int64_t T : {1, 5, 9, 65})
        list.push_back({.dims = {{"T", T}, {"D", 256}, {"I", 200}},
                        .dtypes = {{"x", x}, {"y", x}},
                        .note = "clamped"});
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
