// SPDX-License-Identifier: Apache-2.0
// How often each token occurred in a sequence, kept on the device for the penalties.
#pragma once

#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct TokenCount {
  static Signature signature() {
    return {
        .name = "token_count",
        .family = "sampling",
        .rows = "69",
        .summary = "adds tokens to the counts of their sequences",
        .formula =
            "counts[sequence[t], tokens[t]] += 1 for every t; tokens or sequences outside of "
            "counts count nowhere. tokens, sequence i32 [T], counts i32 [S,V].",
        .source = "vLLM get_token_bin_counts_and_mask",
        .tensors = {in("tokens", "T", {DType::i32}), in("sequence", "T", {DType::i32}),
                    inout("counts", "S,V", {DType::i32})},
        .dynamic_dims = {"T", "S"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t tile = b.m_class("T") <= 64 ? b.m_class("T") : 64;
    b.kernel("add", {programs_for(b.dim("T"), tile)},
             {b.tensor("tokens"), b.tensor("sequence"), b.tensor("counts")},
             [=](KernelBuilder& k, View tokens, View sequence, View counts) {
               const Tile first = k.program_id(0) * tile;
               k.for_range(first, min(first + tile, tokens.extent(0)), 1, [&](Tile t) {
                 const Tile row = cast(load_scalar(sequence, {t}), DType::i64);
                 atomic_add(counts, {row, 0}, load(tokens, {t}, {1}),
                            k.constant(DType::i32, {1}, 1));
               });
             });
  }

  static void reference(const Reference& r) {
    const int64_t S = r.dim("S"), V = r.dim("V");
    std::vector<double> counts(static_cast<size_t>(S * V));
    for (size_t i = 0; i < counts.size(); ++i) counts[i] = r.in("counts").flat(i);
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const auto s = static_cast<int64_t>(r.in("sequence").at({t})),
                 v = static_cast<int64_t>(r.in("tokens").at({t}));
      if (s >= 0 && s < S && v >= 0 && v < V) ++counts[static_cast<size_t>(s * V + v)];
    }
    for (size_t i = 0; i < counts.size(); ++i) r.out("counts").set_flat(i, counts[i]);
  }

  static void fill(Inputs& in) {
    const int64_t S = in.problem().dim("S"), V = in.problem().dim("V");
    // Few different tokens, so that some meet; some outside on either side.
    for (int64_t t = 0; t < in.problem().dim("T"); ++t) {
      in.tensor("tokens").set({t}, t % 7 == 5 ? (t % 2 ? -1.0 : static_cast<double>(V))
                                              : static_cast<double>(V - 1 - in.integer(0, 3)));
      in.tensor("sequence")
          .set({t}, t % 9 == 7 ? (t % 2 ? -1.0 : static_cast<double>(S))
                               : static_cast<double>(in.integer(0, S - 1)));
    }
    HostTensor& counts = in.tensor("counts");
    if (in.test_case().test)
      for (int64_t i = 0; i < counts.numel(); ++i)
        counts.set_flat(i, static_cast<double>(in.integer(0, 5)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 5, 33, 200}) list.push_back({{{"T", T}, {"S", 3}, {"V", 50}}});
    for (int64_t T : {1, 64, 4096}) list.push_back(bench_case({{"T", T}, {"S", 8}, {"V", 129280}}));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const auto tokens = static_cast<double>(p.dim("T"));
    return {.bytes_read = 12 * tokens, .bytes_written = 4 * tokens};
  }
};

}  // namespace tessera::ops
