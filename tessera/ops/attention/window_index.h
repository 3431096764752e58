// SPDX-License-Identifier: Apache-2.0
// Rows of the sliding window that each token attends to.
#pragma once

#include <algorithm>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct WindowIndex {
  static Signature signature() {
    return {
        .name = "window_index",
        .family = "attention",
        .rows = "34",
        .summary = "cache rows of the sliding window, oldest first",
        .formula =
            "p = positions[t], V = window, j < W. ring 0 (rows lie by position): indices[t,j] = i "
            "= "
            "max(p-V+1, 0) + j where i <= p, else -1. ring 1 (row of a position: p % V): with p >= "
            "V-1 the "
            "ring from its oldest row (p+1+j) % V; with p < V-1 j where j <= p, else -1. Entries j "
            ">= V are -1. "
            "positions i32 [T], indices i32 [T,W].",
        .source = "model.py:255 get_window_topk_idxs",
        .tensors = {in("positions", "T", {DType::i32}), out("indices", "T,W", {DType::i32})},
        .attributes = {{"window", 128}, {"ring", 0}},
        .dynamic_dims = {"T", "W"},
    };
  }

  static void plan(PlanBuilder& b) {
    constexpr int64_t kRows = 8, kColumns = 128;
    const auto window = static_cast<int>(b.attribute("window"));
    const bool ring = b.attribute("ring") != 0;
    b.kernel("indices", {programs_for(b.dim("W"), kColumns), programs_for(b.dim("T"), kRows)},
             {b.tensor("positions"), b.tensor("indices")},
             [=](KernelBuilder& k, View positions, View indices) {
               const Tile column = k.program_id(0) * kColumns, t = k.program_id(1) * kRows;
               const Tile j = k.iota({1, kColumns}, 1) + cast(column, DType::i32);
               const Tile p = reshape(load(positions, {t}, {kRows}), {kRows, 1});
               const Tile row = max(p - (window - 1), 0) + j;
               // At most `window` of them: row <= p means j < window.

               store(indices, {t, column}, select(row <= p, ring ? row % window : row, -1));
             });
  }

  static void reference(const Reference& r) {
    const auto V = static_cast<int64_t>(r.attribute("window"));
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const auto p = static_cast<int64_t>(r.in("positions").at({t}));
      std::vector<int64_t> rows;
      if (r.attribute("ring") != 0 && p >= V - 1) {
        for (int64_t i = p % V + 1; i < V; ++i) rows.push_back(i);
        for (int64_t i = 0; i <= p % V; ++i) rows.push_back(i);
      } else {
        for (int64_t i = std::max<int64_t>(p - V + 1, 0); i <= p; ++i) rows.push_back(i);
      }
      for (int64_t j = 0; j < r.dim("W"); ++j)
        r.out("indices").set(
            {t, j}, j < std::ssize(rows) ? static_cast<double>(rows[static_cast<size_t>(j)]) : -1);
    }
  }

  static void fill(Inputs& in) {
    HostTensor& positions = in.tensor("positions");
    const auto V = static_cast<int64_t>(in.problem().attribute("window"));
    const int64_t edge[] = {0, V - 2, V - 1, V, 2 * V - 1, 2 * V, 5 * V + 3, 1};
    for (int64_t t = 0; t < positions.numel(); ++t)
      positions.set({t}, static_cast<double>(in.test_case().note == "prompt" ? t
                                             : t < 8 ? edge[t]
                                                     : in.integer(0, 4 * V)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (double ring : {0.0, 1.0})
      for (int64_t T : {0, 1, 11}) {
        list.push_back({.dims = {{"T", T}, {"W", 128}}, .attributes = {{"ring", ring}}});
        list.push_back(
            {.dims = {{"T", T}, {"W", 7}}, .attributes = {{"ring", ring}, {"window", 7}}});
        list.push_back({.dims = {{"T", T}, {"W", 300}},
                        .attributes = {{"ring", ring}},
                        .note = "wider than the window"});
      }
    list.push_back({.dims = {{"T", 5}, {"W", 5}}, .note = "prompt"});
    list.push_back({.dims = {{"T", 300}, {"W", 128}}, .note = "prompt"});
    list.push_back(bench_case({{"T", 1}, {"W", 128}}, {}, {{"ring", 1}}));
    list.push_back(bench_case({{"T", 512}, {"W", 128}}));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("positions").bytes()),
            .bytes_written = static_cast<double>(p.tensor("indices").bytes())};
  }
};

}  // namespace tessera::ops
