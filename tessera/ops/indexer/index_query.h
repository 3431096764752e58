// SPDX-License-Identifier: Apache-2.0
// The indexer's queries after their projection.
#pragma once

#include <string>
#include <vector>

#include "tessera/ops/indexer/kernels/index_transform.h"
#include "tessera/ops/rope/rope.h"

namespace tessera::ops {

struct IndexQuery {
  static Signature signature() {
    return {
        .name = "index_query",
        .family = "indexer",
        .rows = "8,12,14,27",
        .summary = "Rope, Hadamard rotation and FP4 simulation of the indexer's queries, in place.",
        .formula =
            "q[t, h, :] <- fp4_act_quant_simulate(rnd(hadamard(rnd(rope(q[t, h, :]))))), rnd to "
            "the dtype of q; "
            "with simulate = 0 only rnd(rope(..)), since a rotation of queries and keys alike "
            "changes no score\n"
            "q [T, H, 128], cos and sin [T, 32] f32 of the tokens' own positions",
        .source = "model.py:402-413",
        .tensors = {inout("q", "T,H,128", {DType::bf16, DType::f32}),
                    in("cos", "T,32", {DType::f32}), in("sin", "T,32", {DType::f32})},
        .attributes = {{"simulate", 1}},
    };
  }

  static void plan(PlanBuilder& b) {
    constexpr int64_t kStart = indexer::kDims - Rope::kDims;
    const int64_t all = pow2_ceil(b.dim("H"));
    const int64_t heads = std::clamp<int64_t>(b.caps().vector_tile / indexer::kDims, 1, all);
    const int64_t per_program =
        std::clamp<int64_t>(b.caps().program_grain / 4 / indexer::kDims, heads, all);
    const bool simulate = b.attribute("simulate") != 0;
    const DType to = b.dtype("q");
    b.kernel("heads", {programs_for(b.dim("H"), per_program), b.dim("T")},
             {b.tensor("q"), b.tensor("cos"), b.tensor("sin")},
             [=](KernelBuilder& k, View q, View cos, View sin) {
               const Tile t = k.program_id(1);
               const Tile c = load(cos, {t, 0}, {1, Rope::kPairs}),
                          s = load(sin, {t, 0}, {1, Rope::kPairs});
               for_program(k, 0, per_program, heads, q.extent(1), [&](Tile head) {
                 const TileShape half = {heads, Rope::kDims};
                 const Tile turned =
                     cast(Rope::rotate(to_f32(load(q, {t, head, kStart}, half)), c, s), to);
                 if (!simulate) return store(q, {t, head, kStart}, turned);
                 const Tile whole =
                     lang::concat(to_f32(load(q, {t, head, 0}, half)), to_f32(turned), 1);
                 store(q, {t, head, 0}, cast(indexer::transform(whole, to), to));
               });
             });
  }

  static void reference(const Reference& r) {
    const DType dtype = r.problem().dtype("q");
    std::vector<double> x(128);
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t h = 0; h < r.dim("H"); ++h) {
        for (int64_t d = 0; d < 128; ++d) x[static_cast<size_t>(d)] = r.in("q").at({t, h, d});
        double magnitude = 0;
        for (double value : x) magnitude = std::max(magnitude, std::abs(value));
        indexer::turn(x, r, t);
        if (r.attribute("simulate") != 0) indexer::transform(x, dtype);
        for (int64_t d = 0; d < 128; ++d)
          r.out("q").set({t, h, d}, x[static_cast<size_t>(d)], magnitude);
      }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {{"q", DType::bf16}}, f32 = {{"q", DType::f32}};
    const std::map<std::string, double> plain = {{"simulate", 0}};
    return {
        {{{"T", 1}, {"H", 64}}, bf16, {}, false, true, "Flash"},
        {{{"T", 17}, {"H", 5}}, bf16},
        {{{"T", 3}, {"H", 64}}, bf16, plain},
        {{{"T", 2}, {"H", 4}}, f32},
        {{{"T", 9}, {"H", 3}}, f32, plain},
        {{{"T", 2}, {"H", 3}}, bf16, {}, false, true, "zero head"},
        {{{"T", 0}, {"H", 64}}, bf16},
        bench_case({{"T", 1}, {"H", 64}}, bf16),
        bench_case({{"T", 512}, {"H", 64}}, bf16),
    };
  }

  static void fill(Inputs& in) {
    Rope::fill_rotation(in);
    if (in.test_case().note == "zero head")
      for (int64_t d = 0; d < 128; ++d) in.tensor("q").set({1, 1, d}, 0);
  }

  static std::string check(const Check& c) {
    return indexer::compare("q", c.got("q"), c.want("q"), c.problem.flag("simulate"));
  }
  static Tolerance tolerance(const Problem&) { return {}; }  // see check()

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("H") * indexer::kDims);
    const double bytes = elements * bits(p.dtype("q")) / 8;
    return {.bytes_read = bytes + 256.0 * static_cast<double>(p.dim("T")),
            .bytes_written = bytes,
            .flops = 14 * elements};
  }
};

}  // namespace tessera::ops
