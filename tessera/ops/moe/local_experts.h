// SPDX-License-Identifier: Apache-2.0
// Which of a token's experts are on this rank.
#pragma once

#include <algorithm>

#include "tessera/ops/moe/kernels/alignment.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct LocalExperts {
  static Signature signature() {
    return {
        .name = "local_experts",
        .family = "moe",
        .rows = "54,72",
        .summary = "expert ids as a rank that holds some of the experts counts them",
        .formula =
            "local[t,j] = ids[t,j] - first where first <= ids[t,j] < first + count, else -1 "
            "(an expert of another rank). ids, local i32 [T,J].",
        .source = "model.py:633 experts_start_idx, experts_end_idx",
        .tensors = {in("ids", "T,J", {DType::i32}), out("local", "T,J", {DType::i32})},
        .attributes = {{"first", 0}, {"count", 256}},
        .dynamic_dims = {"T"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t pairs = b.dim("T") * b.dim("J");
    const int64_t tile = std::min(b.caps().vector_tile, pow2_ceil(b.m_class("T") * b.dim("J")));
    Arg ids = b.tensor("ids").reshaped({pairs}), local = b.tensor("local").reshaped({pairs});
    ids.dynamic = local.dynamic = {true};
    b.kernel("pairs", {programs_for(pairs, tile)}, {ids, local},
             {scalar_i64("first", static_cast<int64_t>(b.attribute("first"))),
              scalar_i64("count", static_cast<int64_t>(b.attribute("count")))},
             [=](KernelBuilder& k, View ids, View local, Tile first, Tile count) {
               const Tile at = k.program_id(0) * tile;
               const Tile id = load(ids, {at}, {tile}, -1) - cast(first, DType::i32);
               store(local, {at}, select((id >= 0) & (id < cast(count, DType::i32)), id, -1));
             });
  }

  static void reference(const Reference& r) {
    for (int64_t i = 0; i < r.in("ids").numel(); ++i) {
      const double id = r.in("ids").flat(i) - r.attribute("first");
      r.out("local").set_flat(i, id >= 0 && id < r.attribute("count") ? id : -1);
    }
  }

  static void fill(Inputs& in) { moe::fill_routing(in, in.tensor("ids"), 256); }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 9, 70})
      for (double first : {0.0, 96.0, 240.0})
        list.push_back(
            {.dims = {{"T", T}, {"J", 6}}, .attributes = {{"first", first}, {"count", 16}}});
    list.push_back({.dims = {{"T", 5}, {"J", 3}},
                    .attributes = {{"first", 7}, {"count", 0}},
                    .note = "no expert"});
    for (int64_t T : {1, 512})
      list.push_back(bench_case({{"T", T}, {"J", 6}}, {}, {{"first", 64}, {"count", 16}}));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const auto bytes = static_cast<double>(p.tensor("ids").bytes());
    return {.bytes_read = bytes, .bytes_written = bytes};
  }
};

}  // namespace tessera::ops
