// SPDX-License-Identifier: Apache-2.0
// Router score function of DeepSeek-V4.
#pragma once

#include <algorithm>
#include <cmath>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

struct SqrtSoftplus {
  static Signature signature() {
    return {
        .name = "sqrt_softplus",
        .family = "gate",
        .rows = "50",
        .summary = "square root of softplus",
        .formula = "y = sqrt(x > 20 ? x : log1p(exp(x))) in f32. x, y f32 [T,E].",
        .source = "model.py:571 F.softplus(scores).sqrt()",
        .tensors = {in("x", "T,E", {DType::f32}), out("y", "T,E", {DType::f32})},
    };
  }

  static Tile of(Tile x) { return sqrt(select(x > 20.0, x, log1p(exp(min(x, 20.0))))); }
  static double expected(double x) { return std::sqrt(x > 20 ? x : std::log1p(std::exp(x))); }

  static void plan(PlanBuilder& b) {
    const int64_t count = b.dim("T") * b.dim("E");
    const int64_t tile = std::max(b.caps().vector_tile, b.caps().program_grain / 16);
    b.kernel("elements", {(count + tile - 1) / tile},
             {b.tensor("x").reshaped({count}), b.tensor("y").reshaped({count})},
             [=](KernelBuilder& k, View x, View y) {
               const Tile first = k.program_id(0) * tile;
               const Tile v = load(x, {first}, {tile});
               store(y, {first}, of(v));
             });
  }

  static void reference(const Reference& r) {
    for (int64_t i = 0; i < r.in("x").numel(); ++i)
      r.out("y").set_flat(i, expected(r.in("x").flat(i)));
  }

  static void fill(Inputs& in) {
    HostTensor& x = in.tensor("x");
    const double special[] = {20, 20.00001, 19.99999, 0, -20, -60, -104, -1e30, 1e30, 88, 90};
    for (int64_t i = 0; i < x.numel(); ++i)
      x.set_flat(i, i % 2 && i / 2 < 11 ? special[i / 2] : in.normal(8));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 17})
      for (int64_t E : {256, 37}) list.push_back({.dims = {{"T", T}, {"E", E}}});
    for (int64_t T : {1, 64, 512}) list.push_back(bench_case({{"T", T}, {"E", 256}}));
    return list;
  }

  /// exp 2 ulp, log1p 3 ulp, halved by the root, which rounds once; below exp(-87) results are
  /// subnormal and may be flushed.
  static Tolerance tolerance(const Problem&) {
    return {.absolute = 0x1p-63, .relative = 4 * 0x1p-23};
  }

  static Cost cost(const Problem& p) {
    const auto count = static_cast<double>(p.dim("T") * p.dim("E"));
    return {.bytes_read = 4 * count, .bytes_written = 4 * count, .flops = 4 * count};
  }
};

}  // namespace tessera::ops
