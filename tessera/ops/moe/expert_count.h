// SPDX-License-Identifier: Apache-2.0
// How many pairs each expert has.
#pragma once

#include <algorithm>

#include "tessera/ops/moe/kernels/alignment.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct ExpertCount {
  static Signature signature() {
    return {
        .name = "expert_count",
        .family = "moe",
        .rows = "54",
        .summary = "number of routed pairs of each expert, on the device",
        .formula =
            "counts[e] = |{(t,j) : ids[t,j] = e}|. ids i32 [T,J], counts i32 [E]; ids outside "
            "[0,E) count "
            "nowhere.",
        .source = "model.py:635 torch.bincount(indices.flatten(), minlength=n_routed_experts)",
        .tensors = {in("ids", "T,J", {DType::i32}), out("counts", "E", {DType::i32})},
    };
  }

  static constexpr int64_t kStep = 256;    // pairs a histogram takes at once
  static constexpr int64_t kChunk = 8192;  // pairs a program counts

  static void plan(PlanBuilder& b) {
    const int64_t pairs = b.dim("T") * b.dim("J"), experts = b.dim("E");
    const int64_t bins = pow2_ceil(experts);
    const int64_t chunks = std::max<int64_t>(1, (pairs + kChunk - 1) / kChunk);
    Arg ids = b.tensor("ids").reshaped({pairs}), counts = b.tensor("counts");
    ids.dynamic = {true};
    auto count = [=](KernelBuilder& k, const View& ids, Tile lo) {
      const Tile hi = min(lo + kChunk, ids.extent(0));
      return k.for_range(lo, hi, kStep, lang::carry(k.zeros(DType::i32, {bins})),
                         [&](Tile p, Tile sum) {
                           return lang::carry(sum + histogram(load(ids, {p}, {kStep}, -1), bins));
                         })[0];
    };
    if (chunks == 1) {
      b.kernel("count", {1}, {ids, counts}, [=](KernelBuilder& k, View ids, View counts) {
        store(counts, {0}, count(k, ids, k.index(0)));
      });
      return;
    }
    const Arg partial = b.workspace("partial", DType::i32, {chunks, experts}, {true, false});
    b.kernel("count", {chunks}, {ids, partial.with_access(Access::kWrite)},
             [=](KernelBuilder& k, View ids, View partial) {
               const Tile chunk = k.program_id(0);
               store(partial, {chunk, 0}, count(k, ids, chunk * kChunk));
             });
    b.kernel(
        "sum", {1}, {partial.with_access(Access::kRead), counts},
        [=](KernelBuilder& k, View partial, View counts) {
          auto sum = k.for_range(
              0, partial.extent(0), 1, lang::carry(k.zeros(DType::i32, {bins})),
              [&](Tile c, Tile sum) { return lang::carry(sum + load(partial, {c, 0}, {bins})); });
          store(counts, {0}, sum[0]);
        });
  }

  static void reference(const Reference& r) {
    std::vector<int64_t> counts(static_cast<size_t>(r.dim("E")));
    for (int64_t p = 0; p < r.in("ids").numel(); ++p) {
      const auto e = static_cast<int64_t>(r.in("ids").flat(p));
      if (e >= 0 && e < r.dim("E")) ++counts[static_cast<size_t>(e)];
    }
    for (int64_t e = 0; e < r.dim("E"); ++e)
      r.out("counts").set({e}, static_cast<double>(counts[static_cast<size_t>(e)]));
  }

  static void fill(Inputs& in) {
    HostTensor& ids = in.tensor("ids");
    moe::fill_routing(in, ids, in.problem().dim("E"));
    if (in.test_case().note == "outside")
      for (int64_t p = 0; p < ids.numel(); p += 3)
        ids.set_flat(p, p % 2 ? -1 : in.problem().dim("E"));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 43, 171}) list.push_back({.dims = {{"T", T}, {"J", 6}, {"E", 256}}});
    list.push_back({.dims = {{"T", 9}, {"J", 6}, {"E", 24}}});
    list.push_back({.dims = {{"T", 9}, {"J", 6}, {"E", 256}}, .note = "one expert"});
    list.push_back({.dims = {{"T", 9}, {"J", 6}, {"E", 24}}, .note = "outside"});
    list.push_back({.dims = {{"T", 1400}, {"J", 6}, {"E", 256}}, .note = "two chunks"});
    for (int64_t T : {1, 8, 64, 512, 4096})
      list.push_back(bench_case({{"T", T}, {"J", 6}, {"E", 256}}));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("ids").bytes()),
            .bytes_written = static_cast<double>(p.tensor("counts").bytes())};
  }
};

}  // namespace tessera::ops
