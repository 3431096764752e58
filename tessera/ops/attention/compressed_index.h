// SPDX-License-Identifier: Apache-2.0
// Rows of the compressed cache that each token attends to when all of them count (ratio 128).
#pragma once

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct CompressedIndex {
  static Signature signature() {
    return {
        .name = "compressed_index",
        .family = "attention",
        .rows = "35",
        .summary = "all compressed rows that are complete at a token's position",
        .formula =
            "indices[t,i] = i + offset where i < (positions[t] + 1) / ratio, else -1. positions "
            "i32 [T], "
            "indices i32 [T,C].",
        .source = "model.py:269 get_compress_topk_idxs",
        .tensors = {in("positions", "T", {DType::i32}), out("indices", "T,C", {DType::i32})},
        .attributes = {{"ratio", 128}, {"offset", 0}},
        .dynamic_dims = {"T", "C"},
    };
  }

  static void plan(PlanBuilder& b) {
    constexpr int64_t kRows = 8, kColumns = 128;
    const auto ratio = static_cast<int>(b.attribute("ratio"));
    b.kernel("indices", {programs_for(b.dim("C"), kColumns), programs_for(b.dim("T"), kRows)},
             {b.tensor("positions"), b.tensor("indices")},
             {scalar_i64("offset", static_cast<int64_t>(b.attribute("offset")))},
             [=](KernelBuilder& k, View positions, View indices, Tile offset) {
               const Tile column = k.program_id(0) * kColumns, t = k.program_id(1) * kRows;
               const Tile i = k.iota({1, kColumns}, 1) + cast(column, DType::i32);
               const Tile limit = (reshape(load(positions, {t}, {kRows}), {kRows, 1}) + 1) / ratio;
               store(indices, {t, column}, select(i < limit, i + cast(offset, DType::i32), -1));
             });
  }

  static void reference(const Reference& r) {
    const auto ratio = static_cast<int64_t>(r.attribute("ratio"));
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t i = 0; i < r.dim("C"); ++i) {
        const bool complete =
            (i + 1) * ratio <= static_cast<int64_t>(r.in("positions").at({t})) + 1;
        r.out("indices").set({t, i},
                             complete ? static_cast<double>(i) + r.attribute("offset") : -1);
      }
  }

  static void fill(Inputs& in) {
    HostTensor& positions = in.tensor("positions");
    const auto ratio = static_cast<int64_t>(in.problem().attribute("ratio"));
    const int64_t last = ratio * in.problem().dim("C");
    const int64_t edge[] = {last - 1, 0, ratio - 2, ratio - 1, ratio, last};
    for (int64_t t = 0; t < positions.numel(); ++t)
      positions.set({t}, static_cast<double>(t < 6 ? edge[t] : in.integer(0, last + ratio)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 13})
      for (int64_t C : {0, 1, 70, 300})
        list.push_back({.dims = {{"T", T}, {"C", C}}, .attributes = {{"offset", 128}}});
    list.push_back({.dims = {{"T", 9}, {"C", 50}}, .attributes = {{"ratio", 3}, {"offset", 7}}});
    list.push_back(bench_case({{"T", 1}, {"C", 8192}}, {}, {{"offset", 128}}));
    list.push_back(bench_case({{"T", 512}, {"C", 64}}, {}, {{"offset", 512}}));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("positions").bytes()),
            .bytes_written = static_cast<double>(p.tensor("indices").bytes())};
  }
};

}  // namespace tessera::ops
