// SPDX-License-Identifier: Apache-2.0
// The input of the multi-token-prediction block: the next token's embedding joins each copy of the
// residual stream.
#pragma once

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct MtpCombine {
  static constexpr int64_t kCopies = 4;

  static Signature signature() {
    return {
        .name = "mtp_combine",
        .family = "head",
        .rows = "64",
        .summary = "sum of the projected embedding and each projected copy of the stream",
        .formula =
            "h[t,c,:] = e[t,:] + p[t,c,:] in f32, one rounding. e [T,D] = e_proj(enorm(embedding "
            "of the next token)), p [T,4,D] = h_proj(hnorm(copy c)), h [T,4,D].",
        .source = "model.py:758 MTPBlock.forward: e_proj(e).unsqueeze(2) + h_proj(x)",
        .tensors = {in("e", "T,D", {DType::bf16, DType::f32}),
                    in("p", "T,4,D", {DType::bf16, DType::f32}),
                    out("h", "T,4,D", {DType::bf16, DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D");
    RowTiling t = row_tiling(b, "T", width);
    t.rows = 1;
    const DType to = b.dtype("h");
    b.kernel("rows", {t.programs(b.dim("T"))},
             {b.tensor("e"), b.tensor("p"), streamed_if_large(b, "h", "T", kCopies * width)},
             [t, to](KernelBuilder& k, View e, View p, View h) {
               t.for_rows(k, e, [&](Tile row) {
                 k.for_range(0, kCopies, 1, [&](Tile copy) {
                   k.for_range(0, e.extent(1), t.cols, [&](Tile c) {
                     const Tile sum = to_f32(load(e, {row, c}, {t.cols})) +
                                      to_f32(load(p, {row, copy, c}, {t.cols}));
                     store(h, {row, copy, c}, cast(sum, to));
                   });
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t c = 0; c < 4; ++c)
        for (int64_t d = 0; d < r.dim("D"); ++d)
          r.out("h").set({t, c, d}, r.in("e").at({t, d}) + r.in("p").at({t, c, d}));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (DType dtype : {DType::bf16, DType::f32}) {
      const std::map<std::string, DType> dtypes = {{"e", dtype}, {"p", dtype}, {"h", dtype}};
      for (int64_t T : {0, 1, 3, 17}) list.push_back({{{"T", T}, {"D", 4096}}, dtypes});
      list.push_back({{{"T", 70}, {"D", 77}}, dtypes, {}, false, true, "odd width"});
      for (int64_t T : {1, 8, 64, 4096})
        list.push_back(bench_case({{"T", T}, {"D", 4096}}, dtypes));
    }
    return list;
  }

  /// One addition; the final rounding is not counted here.
  static Tolerance tolerance(const Problem&) { return {.relative = 0x1p-24}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("e").bytes() + p.tensor("p").bytes()),
            .bytes_written = static_cast<double>(p.tensor("h").bytes()),
            .flops = static_cast<double>(p.tensor("p").shape.numel())};
  }
};

}  // namespace tessera::ops
