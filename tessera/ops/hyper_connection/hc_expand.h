// SPDX-License-Identifier: Apache-2.0
// The residual stream of hyper-connections begins as equal copies of the embedding.
#pragma once

#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct HcExpand {
  static constexpr int64_t kCopies = 4;

  static Signature signature() {
    return {
        .name = "hc_expand",
        .family = "hyper_connection",
        .rows = "3",
        .summary = "Four equal copies of each row: the first residual stream.",
        .formula = "y[t, j, :] = x[t, :] for j in 0..3; x [T, D], y [T, 4, D]",
        .source = "model.py:806",
        .tensors = {in("x", "T,D", {DType::bf16, DType::f32}),
                    out("y", "T,4,D", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D");
    RowTiling t = row_tiling(b, "T", width, 1, /*fill=*/2);
    t.rows = 1;
    const DType to = b.dtype("y");
    b.kernel("rows", {t.programs(b.dim("T"))},
             {b.tensor("x"), streamed_if_large(b, "y", "T", kCopies * width)},
             [t, to](KernelBuilder& k, View x, View y) {
               t.for_rows(k, x, [&](Tile row) {
                 // Copy after copy, so that memory is written in order; x comes from the cache.
                 k.for_range(0, kCopies, 1, [&](Tile copy) {
                   k.for_range(0, x.extent(1), t.cols, [&](Tile c) {
                     store(y, {row, copy, c}, cast(load(x, {row, c}, {t.cols}), to));
                   });
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t j = 0; j < 4; ++j)
        for (int64_t d = 0; d < r.dim("D"); ++d) r.out("y").set({t, j, d}, r.in("x").at({t, d}));
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {{"x", DType::bf16}, {"y", DType::bf16}};
    const std::map<std::string, DType> f32 = {{"x", DType::f32}, {"y", DType::f32}};
    const std::map<std::string, DType> widened = {{"x", DType::bf16}, {"y", DType::f32}};
    return {
        {{{"T", 1}, {"D", 4096}}, bf16},
        {{{"T", 3}, {"D", 7168}}, bf16},
        {{{"T", 17}, {"D", 1000}}, f32},
        {{{"T", 70}, {"D", 7}}, bf16, {}, false, true, "many rows a program"},
        {{{"T", 2}, {"D", 65}}, widened},
        {{{"T", 0}, {"D", 64}}, bf16},
        bench_case({{"T", 1}, {"D", 4096}}, bf16),
        bench_case({{"T", 8192}, {"D", 4096}}, bf16, {}, "256 MB"),
    };
  }

  /// A copy is exact.
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    return {.bytes_read = elements * bits(p.dtype("x")) / 8,
            .bytes_written = kCopies * elements * bits(p.dtype("y")) / 8};
  }
};

}  // namespace tessera::ops
