// SPDX-License-Identifier: Apache-2.0
// Expert selection of the first layers: a table by token id.
#pragma once

#include <algorithm>

#include "tessera/ops/gate/kernels/routing_weights.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct HashRoute {
  static Signature signature() {
    return {
        .name = "hash_route",
        .family = "gate",
        .rows = "52,53",
        .summary = "experts from a table by token id, weights from the scores",
        .formula =
            "ids[t,j] = table[tokens[t],j]; weights[t,j] = scores[t,ids[t,j]] / sum_j "
            "scores[t,ids[t,j]] * "
            "scale. tokens [T], table [V,J] i64 (as on disk) or i32, scores f32 [T,E], ids i32 "
            "[T,J], weights "
            "f32 [T,J]. With logits = 1 scores are logits, of which sqrt_softplus makes scores.",
        .source = "model.py:577 tid2eid[input_ids], model.py:580-583",
        .tensors = {in("tokens", "T", {DType::i32, DType::i64}),
                    weight("table", "V,J", {DType::i64, DType::i32}),
                    in("scores", "T,E", {DType::f32}), out("ids", "T,J", {DType::i32}),
                    out("weights", "T,J", {DType::f32})},
        .attributes = {{"scale", 1.5}, {"logits", 0}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t experts = pow2_ceil(b.dim("E")), count = b.dim("J"), columns = pow2_ceil(count);
    const double scale = b.attribute("scale");
    const bool logits = b.problem().flag("logits");
    b.kernel("look_up", {b.dim("T")},
             {b.tensor("tokens"), b.tensor("table"), b.tensor("scores"), b.tensor("ids"),
              b.tensor("weights")},
             [=](KernelBuilder& k, View tokens, View table, View scores, View ids, View weights) {
               const Tile t = k.program_id(0);
               const Tile id =
                   cast(load(table, {load_scalar(tokens, {t}), 0}, {1, columns}), DType::i32);
               const Tile score =
                   gate::scores_of(take(load(scores, {t, 0}, {1, experts}), id), logits);
               std::vector<Tile> chosen;
               for (int64_t j = 0; j < count; ++j) chosen.push_back(slice(score, 1, j, 1));
               store(ids, {t, 0}, id);
               store(weights, {t, 0}, gate::normalised(k, chosen, 1, columns, scale));
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const auto token = static_cast<int64_t>(r.in("tokens").at({t}));
      std::vector<int64_t> experts;
      for (int64_t j = 0; j < r.dim("J"); ++j) {
        experts.push_back(static_cast<int64_t>(r.in("table").at({token, j})));
        r.out("ids").set({t, j}, static_cast<double>(experts.back()));
      }
      gate::reference_weights(r, t, experts);
    }
  }

  static void fill(Inputs& in) {
    gate::fill_scores(in);
    const int64_t V = in.problem().dim("V"), E = in.problem().dim("E"), J = in.problem().dim("J");
    for (int64_t t = 0; t < in.problem().dim("T"); ++t)
      in.tensor("tokens").set({t}, static_cast<double>(t == 0 ? V - 1 : in.integer(0, V - 1)));
    // Different experts in a row, but for "duplicates".
    HostTensor& table = in.tensor("table");
    for (int64_t v = 0; v < V; ++v) {
      const int64_t first = in.integer(0, E - 1), step = 2 * in.integer(0, E / 2 - 1) + 1;
      for (int64_t j = 0; j < J; ++j)
        table.set({v, j}, static_cast<double>(in.test_case().note == "duplicates"
                                                  ? first
                                                  : (first + j * step) % E));
    }
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (DType dtype : {DType::i32, DType::i64}) {
      for (int64_t T : {0, 1, 2, 9, 33})
        list.push_back({.dims = {{"T", T}, {"V", 50}, {"J", 6}, {"E", 256}},
                        .dtypes = {{"tokens", dtype}, {"table", dtype}}});
      list.push_back({.dims = {{"T", 4}, {"V", 50}, {"J", 4}, {"E", 32}},
                      .dtypes = {{"tokens", dtype}, {"table", DType::i64}},
                      .note = "duplicates"});
    }
    list.push_back({.dims = {{"T", 3}, {"V", 50}, {"J", 6}, {"E", 256}},
                    .dtypes = {{"tokens", DType::i32}, {"table", DType::i64}},
                    .attributes = {{"logits", 1}}});
    for (int64_t T : {1, 8, 64, 512})
      list.push_back(bench_case({{"T", T}, {"V", 129280}, {"J", 6}, {"E", 256}},
                                {{"tokens", DType::i64}, {"table", DType::i64}}));
    return list;
  }

  static Tolerance tolerance(const Problem& p) { return gate::tolerance(p); }

  static Cost cost(const Problem& p) {
    const auto pairs = static_cast<double>(p.dim("T") * p.dim("J"));
    return {.bytes_read = 16 * pairs + 8 * static_cast<double>(p.dim("T")),
            .bytes_written = 8 * pairs,
            .flops = 4 * pairs};
  }
};

}  // namespace tessera::ops
