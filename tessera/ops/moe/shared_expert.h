// SPDX-License-Identifier: Apache-2.0
// The shared expert, or any expert with FP8 weights: two products, SwiGLU, quantisation, product.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>

#include "tessera/base/float_formats.h"
#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::ops {

struct SharedExpert {
  static Signature signature() {
    return {
        .name = "shared_expert",
        .family = "moe",
        .rows = "61",
        .summary = "FP8 feed-forward block with clamped SwiGLU",
        .formula =
            "g = bf16(x w1^T), u = bf16(x w3^T) [T,I] as gemm_fp8; h = bf16(silu(min(g, limit)) "
            "clamp(u, +-limit)) "
            "in f32; h per 128: s = 2^ceil(log2(max(amax, 1e-4) / 448)), q = e4m3(clamp(h / s, "
            "+-448)); "
            "y = q s w2^T [T,D] as gemm_fp8. x e4m3 [T,D] with e8m0 scales a 128, w1, w3 [I,D], w2 "
            "[D,I] e4m3 with "
            "e8m0 scales a 128x128 block. limit 0: no clamp.",
        .source =
            "model.py:597 Expert (with the later revision's clamp of the shared expert), "
            "kernel.py:41, :204",
        .tensors = {in("x", "T,D", {DType::f8e4m3}), in("x_scale", "T,D/128", {DType::f8e8m0}),
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
    const gemm::Blocking t = gemm::blocking(b.caps(), b.m_class("T"));
    const Arg gate_up = b.workspace("gate_up", DType::bf16, {2, T, I}, {false, true, false});
    const Arg q = b.workspace("q", DType::f8e4m3, {T, I}, {true, false});
    const Arg q_scale = b.workspace("q_scale", DType::f8e8m0, {T, (I + 127) / 128}, {true, false});
    plan_gate_up(b, t, gate_up.with_access(Access::kWrite), T, I);
    plan_swiglu(b, gate_up.with_access(Access::kRead), q.with_access(Access::kWrite),
                q_scale.with_access(Access::kWrite), T, I);
    const DType y_dtype = b.dtype("y");
    b.kernel("down", gemm::grid(t, T, D),
             {q.with_access(Access::kRead), q_scale.with_access(Access::kRead), b.tensor("w2"),
              b.tensor("w2_scale"), b.tensor("y")},
             [=](KernelBuilder& k, View q, View q_scale, View w2, View w2_scale, View y) {
               const auto [m, first] = gemm::start(k, t);
               product(k, t, q, q_scale, w2, w2_scale, m, first,
                       [&](Tile n, Tile sum) { store(y, {m, n}, cast(sum, y_dtype)); });
             });
  }

  template <class Emit>
  static void product(KernelBuilder& k, const gemm::Blocking& t, const View& a, const View& a_scale,
                      const View& w, const View& w_scale, Tile m, Tile first, Emit emit) {
    gemm::walk_weights(
        k, t, first, w.extent(0), w.extent(1), DType::f32,
        [&](Tile n, Tile k0, Tile acc) {
          return dot_scaled(gemm::activations(a, a_scale, m, k0, t),
                            gemm::fp8_weights(w, w_scale, n, k0, t), acc);
        },
        emit);
  }

  /// A program works for w1 or for w3, so that each reads one stream.
  static void plan_gate_up(PlanBuilder& b, const gemm::Blocking& t, const Arg& gate_up, int64_t T,
                           int64_t I) {
    std::vector<int64_t> grid = gemm::grid(t, T, I);
    grid.push_back(2);
    b.kernel("gate_up", grid,
             {b.tensor("x"), b.tensor("x_scale"), b.tensor("w1"), b.tensor("w1_scale"),
              b.tensor("w3"), b.tensor("w3_scale"), gate_up},
             [=](KernelBuilder& k, View x, View x_scale, View w1, View w1_scale, View w3,
                 View w3_scale, View out) {
               const auto [m, first] = gemm::start(k, t);
               const Tile which = k.program_id(2);
               auto emit = [&](Tile n, Tile sum) {
                 store(out, {which, m, n}, cast(sum, DType::bf16));
               };
               k.if_(
                   which == 0, [&] { product(k, t, x, x_scale, w1, w1_scale, m, first, emit); },
                   [&] { product(k, t, x, x_scale, w3, w3_scale, m, first, emit); });
             });
  }

  static void plan_swiglu(PlanBuilder& b, const Arg& gate_up, const Arg& q, const Arg& q_scale,
                          int64_t T, int64_t I) {
    const int64_t rows =
        std::min<int64_t>(b.m_class("T"), std::max<int64_t>(1, b.caps().program_grain / 128));
    const double limit = b.attribute("limit");
    b.kernel("swiglu", {(T + rows - 1) / rows, (I + 127) / 128}, {gate_up, q, q_scale},
             [=](KernelBuilder& k, View gate_up, View q, View q_scale) {
               const Tile t = k.program_id(0) * rows, group = k.program_id(1);
               Tile gate = cast(load(gate_up, {0, t, group * 128}, {rows, 128}), DType::f32);
               Tile up = cast(load(gate_up, {1, t, group * 128}, {rows, 128}), DType::f32);
               if (limit > 0) {
                 gate = min(gate, limit);
                 up = clamp(up, -limit, limit);
               }
               const Tile h = round_to(gate * sigmoid(gate) * up, DType::bf16);
               // 448 = 1.75 x 2^8: the exponent is amax's less 8, one more where its mantissa is
               // above 1.75.
               const Tile bits = bitcast(max(reduce_max(abs(h), 1), 1e-4), DType::u32);
               const Tile above = cast((bits & 0x7fffff) > 0x600000, DType::u32);
               const Tile exponent = (bits >> 23) - 8 + above;
               const Tile scale = bitcast(exponent << 23, DType::f32);
               const Tile inverse =
                   bitcast((k.constant(DType::u32, {rows, 1}, 254) - exponent) << 23, DType::f32);
               store(q, {t, group * 128}, cast(clamp(h * inverse, -448.0, 448.0), DType::f8e4m3));
               store(q_scale, {t, group}, cast(scale, DType::f8e8m0));
             });
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), D = r.dim("D"), I = r.dim("I");
    const double limit = r.attribute("limit");
    const auto x = gemm::decoded(r.in("x"), r.in("x_scale"), 1, 128);
    const auto w1 = gemm::decoded(r.in("w1"), r.in("w1_scale"), 128, 128);
    const auto w3 = gemm::decoded(r.in("w3"), r.in("w3_scale"), 128, 128);
    const auto w2 = gemm::decoded(r.in("w2"), r.in("w2_scale"), 128, 128);
    auto bf16 = [](double v) { return static_cast<double>(decode_bf16(encode_bf16(v))); };
    std::vector<double> h(static_cast<size_t>(I));
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < I; ++i) {
        double gate = bf16(gemm::dot_sum(&x[t * D], &w1[i * D], D).value);
        double up = bf16(gemm::dot_sum(&x[t * D], &w3[i * D], D).value);
        if (limit > 0) {
          gate = std::min(gate, limit);
          up = std::max(-limit, std::min(up, limit));
        }
        h[i] = bf16(gate / (1 + std::exp(-gate)) * up);
      }
      for (int64_t first = 0; first < I; first += 128) {
        const int64_t end = std::min(I, first + 128);
        double amax = 1e-4;
        for (int64_t i = first; i < end; ++i) amax = std::max(amax, std::abs(h[i]));
        const double scale = std::exp2(std::ceil(std::log2(amax / 448)));
        for (int64_t i = first; i < end; ++i)
          h[i] = decode_e4m3(encode_e4m3(std::clamp(h[i] / scale, -448.0, 448.0))) * scale;
      }
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
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 8, 9})
      list.push_back({.dims = {{"T", T}, {"D", 128}, {"I", 256}}, .dtypes = {{"y", DType::f32}}});
    for (int64_t T : {1, 5}) {
      list.push_back({.dims = {{"T", T}, {"D", 256}, {"I", 128}},
                      .dtypes = {{"y", DType::f32}},
                      .note = "clamped"});
      list.push_back({.dims = {{"T", T}, {"D", 128}, {"I", 256}},
                      .dtypes = {{"y", DType::bf16}},
                      .note = "clamped"});
    }
    list.push_back({.dims = {{"T", 2}, {"D", 256}, {"I", 128}},
                    .dtypes = {{"y", DType::bf16}},
                    .attributes = {{"limit", 0}},
                    .note = "clamped"});
    // A low limit shows that the gate is clamped on one side only.
    list.push_back({.dims = {{"T", 2}, {"D", 256}, {"I", 128}},
                    .dtypes = {{"y", DType::f32}},
                    .attributes = {{"limit", 1}},
                    .note = "clamped"});
    for (int64_t T : {1, 2, 4, 8, 64, 512})
      list.push_back(bench_case({{"T", T}, {"D", 4096}, {"I", 2048}}, {{"y", DType::bf16}}));
    return list;
  }

  /// A sum that rounds to the other bf16 neighbour may move an element of q by one e4m3 step, 1/8
  /// of its value; that element may be four times the mean. Losing a mean term is twice as much.
  static Tolerance tolerance(const Problem& p) {
    return {.scaled = 0.5 / static_cast<double>(std::max<int64_t>(1, p.dim("I")))};
  }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(
        p, {"x", "x_scale", "w1", "w1_scale", "w3", "w3_scale", "w2", "w2_scale"}, "y",
        6.0 * static_cast<double>(p.dim("T") * p.dim("D") * p.dim("I")));
  }
};

}  // namespace tessera::ops
