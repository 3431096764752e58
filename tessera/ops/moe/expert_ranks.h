// SPDX-License-Identifier: Apache-2.0
// Which ranks a token's experts are on: where its row is sent, and whose answers are added.
#pragma once

#include <algorithm>

#include "tessera/ops/moe/kernels/alignment.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct ExpertRanks {
  static Signature signature() {
    return {
        .name = "expert_ranks",
        .family = "moe",
        .rows = "54,72",
        .summary = "ranks that hold an expert of a token",
        .formula =
            "ranks[t,r] = r where floor(r E / R) <= ids[t,j] < floor((r+1) E / R) for some j, "
            "else -1: rank r of R holds these of the E = `experts` experts. ids i32 [T,J], ranks "
            "i32 [T,R].",
        .source = "model.py:633 experts_start_idx, experts_end_idx of every rank",
        .tensors = {in("ids", "T,J", {DType::i32}), out("ranks", "T,R", {DType::i32})},
        .attributes = {{"experts", 256}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t count = b.dim("R"), bins = pow2_ceil(count), slots = pow2_ceil(b.dim("J"));
    b.kernel("ranks", {b.dim("T")}, {b.tensor("ids"), b.tensor("ranks")},
             {scalar_i64("experts", static_cast<int64_t>(b.attribute("experts")))},
             [=](KernelBuilder& k, View ids, View ranks, Tile experts) {
               const Tile t = k.program_id(0);
               const Tile id = load(ids, {t, 0}, {1, slots}, -1);
               const Tile rank = k.iota({bins, 1}, 0), all = cast(experts, DType::i32);
               const int of = static_cast<int>(count);
               const Tile here = (id >= rank * all / of) & (id < (rank + 1) * all / of);
               const Tile hits = reduce_sum(cast(here, DType::i32), 1);
               const Tile row = reshape(rank, {1, bins});
               store(ranks, {t, 0}, select(reshape(hits, {1, bins}) > 0, row, -1));
             });
  }

  static void reference(const Reference& r) {
    const auto experts = static_cast<int64_t>(r.attribute("experts"));
    const int64_t count = r.dim("R");
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t rank = 0; rank < count; ++rank) {
        double found = -1;
        for (int64_t j = 0; j < r.dim("J"); ++j) {
          const auto id = static_cast<int64_t>(r.in("ids").at({t, j}));
          for (int64_t e = rank * experts / count; e < (rank + 1) * experts / count; ++e)
            if (e == id) found = static_cast<double>(rank);
        }
        r.out("ranks").set({t, rank}, found);
      }
  }

  static void fill(Inputs& in) {
    moe::fill_routing(in, in.tensor("ids"),
                      static_cast<int64_t>(in.problem().attribute("experts")));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 9, 70})
      for (int64_t R : {1, 2, 8, 16})
        list.push_back({.dims = {{"T", T}, {"J", 6}, {"R", R}}, .attributes = {{"experts", 256}}});
    list.push_back({.dims = {{"T", 9}, {"J", 3}, {"R", 16}},
                    .attributes = {{"experts", 6}},
                    .note = "ranks without experts"});
    list.push_back({.dims = {{"T", 9}, {"J", 2}, {"R", 5}},
                    .attributes = {{"experts", 24}},
                    .note = "uneven shares"});
    for (int64_t T : {16, 512})
      list.push_back(bench_case({{"T", T}, {"J", 6}, {"R", 16}}, {}, {{"experts", 256}}));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("ids").bytes()),
            .bytes_written = static_cast<double>(p.tensor("ranks").bytes())};
  }
};

}  // namespace tessera::ops
