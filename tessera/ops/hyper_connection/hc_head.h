// SPDX-License-Identifier: Apache-2.0
// The end of hyper-connections: the four copies become one row before the last norm.
#pragma once

#include <array>
#include <cmath>
#include <vector>

#include "tessera/ops/hyper_connection/hc_mix.h"
#include "tessera/ops/hyper_connection/hc_pre_combine.h"

namespace tessera::ops {

struct HcHead {
  static constexpr int64_t kCopies = 4;

  static Signature signature() {
    return {
        .name = "hc_head",
        .family = "hyper_connection",
        .rows = "48",
        .summary = "Gates from the residual stream itself, then the weighted sum of its copies.",
        .formula =
            "m as hc_mix with fn [4, 4 D]; g[j] = sigmoid(m[j] scale[0] + base[j]) + eps_gate; "
            "y[t, d] = sum_j g[j] x[t, j, d] in f32, rounded once\n"
            "x [T, 4, D] bf16, scale [1], base [4] f32, y [T, D] bf16",
        .source = "model.py:729",
        .tensors = {in("x", "T,4,D", {DType::bf16, DType::f32}),
                    weight("fn", "4,D*4", {DType::f32}), in("scale", "1", {DType::f32}),
                    in("base", "4", {DType::f32}), out("y", "T,D", {DType::bf16, DType::f32})},
        .attributes = {{"eps", 1e-6}, {"eps_gate", 1e-6}},
    };
  }

  static void plan(PlanBuilder& b) {
    const HcMix::Parts parts = HcMix::plan_parts(b, kCopies);
    const int64_t width = b.dim("D");
    RowTiling t = row_tiling(b, "T", width);
    t.rows = 1;
    const double eps = b.attribute("eps"), eps_gate = b.attribute("eps_gate");
    const DType to = b.dtype("y");
    b.kernel("combine", {t.programs(b.dim("T"))},
             {b.tensor("x"), parts.dots, parts.squares, b.tensor("scale"), b.tensor("base"),
              b.tensor("y")},
             [=, count = parts.count](KernelBuilder& k, View x, View dots, View squares, View scale,
                                      View base, View y) {
               t.for_rows(k, x, [&](Tile row) {
                 const Tile total = to_f32(x.extent(2) * kCopies);
                 const Tile m = HcMix::finish(count, dots, squares, row, 1, kCopies, total, eps);
                 const Tile gates =
                     sigmoid(m * load_scalar(scale, {0}) + load(base, {0}, {kCopies})) + eps_gate;
                 std::array<Tile, kCopies> gate;
                 for (int64_t j = 0; j < kCopies; ++j)
                   gate[static_cast<size_t>(j)] = reshape(slice(gates, 1, j, 1), {1});
                 k.for_range(0, y.extent(1), t.cols, [&](Tile c) {
                   store(y, {row, c}, cast(HcPreCombine::combine(x, row, c, t.cols, gate), to));
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D");
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      double squares = 0, gate[4];
      for (int64_t j = 0; j < 4; ++j)
        for (int64_t d = 0; d < width; ++d) squares += std::pow(r.in("x").at({t, j, d}), 2);
      const double norm =
          1 / std::sqrt(squares / static_cast<double>(4 * width) + r.attribute("eps"));
      for (int64_t n = 0; n < 4; ++n) {
        double sum = 0;
        for (int64_t j = 0; j < 4; ++j)
          for (int64_t d = 0; d < width; ++d)
            sum += r.in("x").at({t, j, d}) * r.in("fn").at({n, j * width + d});
        const double z = sum * norm * r.in("scale").at({0}) + r.in("base").at({n});
        gate[n] = 1 / (1 + std::exp(-z)) + r.attribute("eps_gate");
      }
      for (int64_t d = 0; d < width; ++d) {
        double sum = 0, magnitude = 0;
        for (int64_t j = 0; j < 4; ++j) {
          sum += gate[j] * r.in("x").at({t, j, d});
          magnitude += std::abs(gate[j] * r.in("x").at({t, j, d}));
        }
        r.out("y").set({t, d}, sum, magnitude);
      }
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16}, {"y", DType::bf16}},
                f32 = {{"x", DType::f32}, {"y", DType::f32}};
    return {
        {{{"T", 1}, {"D", 4096}}, bf16, {}, false, true, "Flash"},
        {{{"T", 3}, {"D", 7168}}, bf16, {}, false, true, "Pro"},
        {{{"T", 17}, {"D", 512}}, f32},
        {{{"T", 70}, {"D", 50}}, bf16, {}, false, true, "several rows a program"},
        {{{"T", 5}, {"D", 77}}, f32, {{"eps", 0.5}, {"eps_gate", 0.25}}, false, true, "zero row"},
        {{{"T", 0}, {"D", 4096}}, bf16},
        bench_case({{"T", 1}, {"D", 4096}}, bf16),
        bench_case({{"T", 64}, {"D", 4096}}, bf16),
    };
  }

  static void fill(Inputs& in) {
    HostTensor &base = in.tensor("base"), &x = in.tensor("x");
    for (int64_t j = 0; j < kCopies; ++j) base.set({j}, in.normal(0.5));
    in.tensor("scale").set({0}, 0.8);
    if (in.test_case().note == "zero row")
      for (int64_t j = 0; j < kCopies; ++j)
        for (int64_t d = 0; d < x.extent(2); ++d) x.set({2, j, d}, 0);
  }

  /// The gates are right to a few 1e-6 (f32 sums of 4 D products of random signs, behind a
  /// sigmoid).
  static Tolerance tolerance(const Problem&) { return {.scaled = 1e-5}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    return {.bytes_read = kCopies * elements * bits(p.dtype("x")) / 8 + 64.0 * p.dim("D"),
            .bytes_written = elements * bits(p.dtype("y")) / 8,
            .flops = elements * 48};
  }
};

}  // namespace tessera::ops
