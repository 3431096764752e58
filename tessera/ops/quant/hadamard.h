// SPDX-License-Identifier: Apache-2.0
// Hadamard rotation of the indexer's queries and keys.
#pragma once

#include <bit>
#include <cmath>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct Hadamard {
  static constexpr int64_t kDims = 128;
  static constexpr double kScale = 0.08838834764831845;  // 128^-0.5

  static Signature signature() {
    return {
        .name = "hadamard",
        .family = "quant",
        .rows = "14",
        .summary = "Hadamard transform of 128 elements, f32 inside, one rounding.",
        .formula =
            "y[t, i] = 128^-0.5 * sum_j (-1)^popcount(i & j) x[t, j]; x, y [T, 128], T any rows "
            "(tokens x heads); Sylvester order",
        .source = "model.py:247",
        .tensors = {in("x", "T,128", {DType::bf16, DType::f32}),
                    out("y", "T,128", {DType::bf16, DType::f32})},
    };
  }

  /// x [.., 128] f32, transformed and scaled. Each step transforms the lowest bit of the index and
  /// moves it to the top: seven steps restore the order.
  static Tile transform(Tile x) {
    for (int64_t n = kDims; n > 1; n /= 2) {
      const auto [even, odd] = lang::split(x);
      x = lang::concat(even + odd, even - odd, x.rank() - 1);
    }
    return x * kScale;
  }

  static void plan(PlanBuilder& b) {
    const RowTiling t = row_tiling(b, "T", kDims, kDims);
    const DType to = b.dtype("y");
    b.kernel("rows", {t.programs(b.dim("T"))},
             {b.tensor("x"), streamed_if_large(b, "y", "T", kDims)},
             [t, to](KernelBuilder& k, View x, View y) {
               t.for_rows(k, x, [&](Tile row) {
                 const Tile v = to_f32(load(x, {row, 0}, t.shape()));
                 store(y, {row, 0}, cast(transform(v), to));
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t i = 0; i < 128; ++i) {
        double sum = 0, magnitude = 0;
        for (int64_t j = 0; j < 128; ++j) {
          const double x = r.in("x").at({t, j});
          sum += std::popcount(static_cast<uint64_t>(i & j)) % 2 ? -x : x;
          magnitude += std::abs(x);
        }
        r.out("y").set({t, i}, sum / std::sqrt(128.0), magnitude / std::sqrt(128.0));
      }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16}, {"y", DType::bf16}};
    const Types f32 = {{"x", DType::f32}, {"y", DType::f32}};
    const Types narrowed = {{"x", DType::f32}, {"y", DType::bf16}};
    return {
        {{{"T", 64}}, bf16, {}, false, true, "Flash indexer q, one token"},
        {{{"T", 1}}, bf16, {}, false, true, "indexer k"},
        {{{"T", 17}}, f32},
        {{{"T", 130}}, f32, {}, false, true, "one element a row"},
        {{{"T", 3}}, narrowed},
        {{{"T", 0}}, bf16},
        bench_case({{"T", 64}}, bf16),
        bench_case({{"T", 262144}}, bf16),
        bench_case({{"T", 1048576}}, bf16, {}, "256 MB"),
    };
  }

  static void fill(Inputs& in) {
    if (in.test_case().note != "one element a row") return;
    // Row t shows column t of the matrix: order and signs without any cancellation.
    HostTensor& x = in.tensor("x");
    for (int64_t t = 0; t < x.extent(0); ++t)
      for (int64_t j = 0; j < kDims; ++j)
        x.set({t, j}, j == t % kDims ? 1 + 0.01 * static_cast<double>(t) : 0);
  }

  /// Seven additions in f32, each rounding at most the partial sum; then the scale.
  static Tolerance tolerance(const Problem&) { return {.relative = 2e-7, .scaled = 4e-7}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * kDims);
    return {.bytes_read = elements * bits(p.dtype("x")) / 8,
            .bytes_written = elements * bits(p.dtype("y")) / 8,
            .flops = 8 * elements};
  }
};

}  // namespace tessera::ops
