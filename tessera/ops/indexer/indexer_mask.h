// SPDX-License-Identifier: Apache-2.0
// Hides the compressed entries a token may not see yet.
#pragma once

#include <algorithm>
#include <limits>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

struct IndexerMask {
  static Signature signature() {
    return {
        .name = "indexer_mask",
        .family = "indexer",
        .rows = "30",
        .summary = "causal mask of indexer scores, in place",
        .formula =
            "scores[t,c] = -inf where c >= (positions[t] + 1) / ratio. scores [T,C], positions i32 "
            "[T].",
        .source = "model.py:425 index_score += where(mask, -inf, 0)",
        .tensors = {inout("scores", "T,C", {DType::bf16, DType::f32}),
                    in("positions", "T", {DType::i32})},
        .attributes = {{"ratio", 4}},
        .dynamic_dims = {"T", "C"},
    };
  }

  static constexpr double kHidden = -std::numeric_limits<double>::infinity();

  static void plan(PlanBuilder& b) {
    const auto ratio = static_cast<int64_t>(b.attribute("ratio"));
    const int64_t tile = b.caps().vector_tile, span = std::max(tile, b.caps().program_grain);
    const DType dtype = b.dtype("scores");
    b.kernel("mask", {(b.dim("C") + span - 1) / span, b.dim("T")},
             {b.tensor("scores"), b.tensor("positions")},
             [=](KernelBuilder& k, View scores, View positions) {
               const Tile first = k.program_id(0) * span, t = k.program_id(1);
               const Tile limit = (load_scalar(positions, {t}) + 1) / static_cast<int>(ratio);
               // Whole tiles below the limit are left alone.
               const Tile begin = max(first, cast(limit, DType::i64) / tile * tile);
               k.for_range(begin, min(first + span, scores.extent(1)), tile, [&](Tile c) {
                 const Tile hidden = k.iota({tile}, 0) + cast(c, DType::i32) >= limit;
                 store_masked(scores, {t, c}, cast(k.constant(DType::f32, {tile}, kHidden), dtype),
                              hidden);
               });
             });
  }

  static void reference(const Reference& r) {
    const auto ratio = static_cast<int64_t>(r.attribute("ratio"));
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t c = 0; c < r.dim("C"); ++c)
        if (c >= (static_cast<int64_t>(r.in("positions").at({t})) + 1) / ratio)
          r.out("scores").set({t, c}, kHidden);
  }

  static void fill(Inputs& in) {
    HostTensor& positions = in.tensor("positions");
    const auto ratio = static_cast<int64_t>(in.problem().attribute("ratio"));
    const int64_t last = ratio * in.problem().dim("C") - 1;
    for (int64_t t = 0; t < positions.numel(); ++t)
      positions.set({t}, static_cast<double>(t == 0 ? 0 : t == 1 ? last : in.integer(0, last + 9)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (DType dtype : {DType::bf16, DType::f32}) {
      const std::map<std::string, DType> dtypes = {{"scores", dtype}};
      for (int64_t T : {0, 1, 2, 13})
        list.push_back({.dims = {{"T", T}, {"C", 301}}, .dtypes = dtypes});
      list.push_back(
          {.dims = {{"T", 3}, {"C", 9000}}, .dtypes = dtypes, .attributes = {{"ratio", 3}}});
      list.push_back({.dims = {{"T", 3}, {"C", 0}}, .dtypes = dtypes});
      for (int64_t T : {64, 512}) list.push_back(bench_case({{"T", T}, {"C", 2048}}, dtypes));
    }
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("positions").bytes()),
            .bytes_written = static_cast<double>(p.tensor("scores").bytes()) / 2};
  }
};

}  // namespace tessera::ops
