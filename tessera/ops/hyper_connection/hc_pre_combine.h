// SPDX-License-Identifier: Apache-2.0
// The input of a sublayer: weighted sum of the four copies of the residual stream.
#pragma once

#include <array>
#include <cmath>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct HcPreCombine {
  static constexpr int64_t kCopies = 4;

  static Signature signature() {
    return {
        .name = "hc_pre_combine",
        .family = "hyper_connection",
        .rows = "46",
        .summary = "Weighted sum of the four residual copies.",
        .formula =
            "y[t, d] = sum_j pre[t, j] x[t, j, d] in f32, rounded once; x [T, 4, D] bf16, pre [T, "
            "4] f32, "
            "y [T, D] bf16",
        .source = "model.py:681",
        .tensors = {in("x", "T,4,D", {DType::bf16, DType::f32}), in("pre", "T,4", {DType::f32}),
                    out("y", "T,D", {DType::bf16, DType::f32})},
    };
  }

  /// sum_j weight[j] x[row, j, col..] of `cols` columns, f32.
  static Tile combine(const View& x, Tile row, Operand col, int64_t cols,
                      const std::array<Tile, kCopies>& weight) {
    return combine(copies(x, row, col, cols), weight);
  }
  /// The columns of the four copies, as they are stored.
  static std::array<Tile, kCopies> copies(const View& x, Tile row, Operand col, int64_t cols) {
    std::array<Tile, kCopies> all;
    for (int64_t j = 0; j < kCopies; ++j)
      all[static_cast<size_t>(j)] = load(x, {row, j, col}, {cols});
    return all;
  }
  static Tile combine(const std::array<Tile, kCopies>& copies,
                      const std::array<Tile, kCopies>& weight) {
    Tile sum = to_f32(copies[0]) * weight[0];
    for (size_t j = 1; j < kCopies; ++j) sum = fma(to_f32(copies[j]), weight[j], sum);
    return sum;
  }

  static void plan(PlanBuilder& b) {
    plan_rows(b, b.tensor("x"), b.tensor("pre"), streamed_if_large(b, "y", "T", b.dim("D")));
  }

  /// The kernel from x and pre [T, 4] to y [T, D].
  static void plan_rows(PlanBuilder& b, const Arg& x, const Arg& pre, const Arg& y) {
    RowTiling t = row_tiling(b, "T", b.dim("D"));
    t.rows = 1;
    const DType to = y.dtype;
    b.kernel("rows", {t.programs(b.dim("T"))}, {x, pre, y},
             [t, to](KernelBuilder& k, View x, View pre, View y) {
               t.for_rows(k, x, [&](Tile row) {
                 std::array<Tile, kCopies> weight;
                 for (int64_t j = 0; j < kCopies; ++j)
                   weight[static_cast<size_t>(j)] = load_scalar(pre, {row, j});
                 k.for_range(0, y.extent(1), t.cols, [&](Tile c) {
                   store(y, {row, c}, cast(combine(x, row, c, t.cols, weight), to));
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t d = 0; d < r.dim("D"); ++d) {
        double sum = 0, magnitude = 0;
        for (int64_t j = 0; j < 4; ++j) {
          const double product = r.in("pre").at({t, j}) * r.in("x").at({t, j, d});
          sum += product;
          magnitude += std::abs(product);
        }
        r.out("y").set({t, d}, sum, magnitude);
      }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16}, {"y", DType::bf16}},
                f32 = {{"x", DType::f32}, {"y", DType::f32}};
    const Types widened = {{"x", DType::bf16}, {"y", DType::f32}};
    return {
        {{{"T", 1}, {"D", 4096}}, bf16, {}, false, true, "Flash"},
        {{{"T", 3}, {"D", 7168}}, bf16, {}, false, true, "Pro"},
        {{{"T", 17}, {"D", 512}}, f32},
        {{{"T", 70}, {"D", 50}}, widened, {}, false, true, "several rows a program"},
        {{{"T", 5}, {"D", 77}}, bf16},
        {{{"T", 4}, {"D", 128}}, bf16, {}, false, true, "huge"},
        {{{"T", 0}, {"D", 4096}}, bf16},
        bench_case({{"T", 1}, {"D", 4096}}, bf16),
        bench_case({{"T", 64}, {"D", 4096}}, bf16),
        bench_case({{"T", 8192}, {"D", 4096}}, bf16, {}, "320 MB"),
    };
  }

  static void fill(Inputs& in) {
    if (in.test_case().note != "huge") return;
    HostTensor& x = in.tensor("x");
    for (int64_t i = 0; i < x.numel(); ++i) x.set_flat(i, in.normal(1e36));
  }

  /// Four products summed in f32.
  static Tolerance tolerance(const Problem&) { return {.scaled = 4e-7}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    return {.bytes_read = kCopies * elements * bits(p.dtype("x")) / 8 + p.dim("T") * 16.0,
            .bytes_written = elements * bits(p.dtype("y")) / 8,
            .flops = 8 * elements};
  }
};

}  // namespace tessera::ops
