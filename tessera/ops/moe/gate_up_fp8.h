// SPDX-License-Identifier: Apache-2.0
// The first half of the shared expert: both products and the activation made of them.
#pragma once

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/ops/moe/kernels/gate_up.h"

namespace tessera::ops {

struct GateUpFp8 {
  static Signature signature() {
    return {
        .name = "gate_up_fp8",
        .family = "moe",
        .rows = "15,58",
        .summary = "clamped SwiGLU of two products with FP8 weights",
        .formula =
            "gate = x w1^T, up = x w3^T [T,I] as gemm_fp8, each rounded to y's type; y = "
            "silu(min(gate, limit)) clamp(up, +-limit) in f32, one rounding to y. x [T,D] e4m3 "
            "with e8m0 scales a 128, bf16 or f32 (x_scale left out: 1). w1, w3 [I,D] e4m3 with "
            "e8m0 scales a 128x128 block. limit 0: no clamp.",
        .source = "model.py:597 Expert without w2",
        .tensors = moe::gate_up_tensors({out("y", "T,I", {DType::bf16, DType::f32})}),
        .attributes = {{"limit", 10}},
    };
  }

  static void plan(PlanBuilder& b) {
    Arg y = b.tensor("y");
    if (b.m_class("T") == 1) return moe::plan_gated_row(b, y);
    const Arg gate_up =
        b.workspace("gate_up", y.dtype, {2, b.dim("T"), b.dim("I")}, {false, true, false});
    moe::plan_gate_and_up(b, gate_up);
    y.name = "h";
    moe::plan_activation(b, gate_up, {y});
  }

  static void reference(const Reference& r) {
    const int64_t T = r.dim("T"), D = r.dim("D"), I = r.dim("I");
    const bool rounded = r.problem().dtype("y") == DType::bf16;
    const auto x = gemm::decoded(r, "x", 1, 128);
    const auto w1 = gemm::decoded(r, "w1", 128, 128), w3 = gemm::decoded(r, "w3", 128, 128);
    const auto round = [&](double v) {
      return rounded ? static_cast<double>(decode_bf16(encode_bf16(v))) : v;
    };
    for (int64_t t = 0; t < T; ++t)
      for (int64_t i = 0; i < I; ++i) {
        const auto gate = gemm::dot_sum(&x[t * D], &w1[i * D], D),
                   up = gemm::dot_sum(&x[t * D], &w3[i * D], D);
        const double g = round(gate.value), u = round(up.value);
        r.out("y").set({t, i}, SwigluClamp::expected(g, u, 1, r.attribute("limit")),
                       moe::gated_magnitude(g, u, gate, up, rounded));
      }
  }

  static void fill(Inputs& in) {
    gemm::fill_scales(in, "x_scale");
    moe::fill_gated_scales(in, in.problem().dim("D"));
  }

  static std::vector<Case> cases() {
    const DType f32 = DType::f32, bf16 = DType::bf16;
    const auto native = [](DType y) {
      return std::map<std::string, DType>{
          {"x", DType::f8e4m3}, {"x_scale", DType::f8e8m0}, {"y", y}};
    };
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 9, 65})
      list.push_back({.dims = {{"T", T}, {"D", 256}, {"I", 128}}, .dtypes = native(f32)});
    for (int64_t T : {1, 5}) {
      list.push_back({.dims = {{"T", T}, {"D", 384}, {"I", 200}},
                      .dtypes = native(bf16),
                      .note = moe::kClamped});
      list.push_back({.dims = {{"T", T}, {"D", 300}, {"I", 131}},
                      .dtypes = {{"x", f32}, {"y", f32}},
                      .note = moe::kClamped});
      list.push_back({.dims = {{"T", T}, {"D", 2048}, {"I", 64}},
                      .dtypes = {{"x", bf16}, {"y", f32}},
                      .attributes = {{"limit", 0}},
                      .note = moe::kClamped});
    }
    for (int64_t T : {1, 8, 16, 64})
      list.push_back(bench_case({{"T", T}, {"D", 4096}, {"I", 2048}}, native(bf16)));
    list.push_back(bench_case({{"T", 1}, {"D", 4096}, {"I", 2048}}, {{"x", bf16}, {"y", bf16}}));
    return list;
  }

  static Tolerance tolerance(const Problem& p) {
    return moe::gated_tolerance(p, p.dim("D"), p.dim("T") > 64);
  }

  static Cost cost(const Problem& p) {
    return gemm::product_cost(p, {"x", "x_scale", "w1", "w1_scale", "w3", "w3_scale"}, "y",
                              4.0 * static_cast<double>(p.dim("T") * p.dim("D") * p.dim("I")));
  }
};

}  // namespace tessera::ops
