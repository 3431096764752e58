// SPDX-License-Identifier: Apache-2.0
// Writes new rows into the rings of the sliding windows.
#pragma once

#include <algorithm>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct KvRingWrite {
  static Signature signature() {
    return {
        .name = "kv_ring_write",
        .family = "attention",
        .rows = "38,39",
        .summary = "rows to slot position % window of their sequence's ring",
        .formula =
            "cache[base[t] + positions[t] % window,:] = kv[t,:] for every t that is not "
            "overwritten by row "
            "t + window of the same sequence in the same call (base[t + window] = base[t] and "
            "positions[t + "
            "window] = positions[t] + window). Rows of a sequence are consecutive positions; a row "
            "with "
            "positions[t] < 0 is skipped. kv [T,D], positions i32 [T], base i32 [T] (0 if absent), "
            "cache [R,D].",
        .source = "model.py:520 (prefill), model.py:530 (decode)",
        .tensors = {in("kv", "T,D", {DType::bf16, DType::f32}), in("positions", "T", {DType::i32}),
                    optional(in("base", "T", {DType::i32})),
                    inout("cache", "R,D", {DType::bf16, DType::f32})},
        .attributes = {{"window", 128}},
        .dynamic_dims = {"T", "R"},
    };
  }

  static void plan(PlanBuilder& b) {
    const auto window = static_cast<int64_t>(b.attribute("window"));
    const int64_t columns = std::min(pow2_ceil(b.dim("D")), b.caps().program_grain);
    const bool based = b.has("base");
    // Without a base the positions take its place, unread.
    b.kernel("rows", {programs_for(b.dim("D"), columns), b.dim("T")},
             {b.tensor("kv"), b.tensor("positions"), b.tensor(based ? "base" : "positions"),
              b.tensor("cache")},
             [=](KernelBuilder& k, View kv, View positions, View base, View cache) {
               const Tile column = k.program_id(0) * columns, t = k.program_id(1);
               auto base_of = [&](Tile row) {
                 return based ? load_scalar(base, {row}) : k.constant(DType::i32, {}, 0);
               };
               const Tile p = load_scalar(positions, {t}), own = base_of(t);
               const Tile later = load_scalar(positions, {t + window}, -1);
               const Tile replaced =
                   (later == p + static_cast<int>(window)) & (base_of(t + window) == own);
               k.if_((p >= 0) & !replaced, [&] {
                 store(cache, {own + p % static_cast<int>(window), column},
                       load(kv, {t, column}, {1, columns}));
               });
             });
  }

  static void reference(const Reference& r) {
    const auto window = static_cast<int64_t>(r.attribute("window"));
    for (int64_t t = 0; t < r.dim("T"); ++t) {  // in order: later rows overwrite earlier ones
      const auto p = static_cast<int64_t>(r.in("positions").at({t}));
      const int64_t base = r.has("base") ? static_cast<int64_t>(r.in("base").at({t})) : 0;
      if (p < 0) continue;
      for (int64_t d = 0; d < r.dim("D"); ++d)
        r.out("cache").set({base + p % window, d}, r.in("kv").at({t, d}));
    }
  }

  static void fill(Inputs& in) {
    const Problem& p = in.problem();
    const std::string& note = in.test_case().note;
    const auto window = static_cast<int64_t>(p.attribute("window"));
    HostTensor& positions = in.tensor("positions");
    for (int64_t t = 0; t < positions.numel(); ++t) {
      if (note == "batch") {  // a row a sequence, some of them idle
        positions.set({t}, t % 4 == 3 ? -1.0 : static_cast<double>(in.integer(0, 5 * window)));
        in.tensor("base").set({t}, static_cast<double>(t * window));
      } else if (note == "staggered") {  // no row replaces that of another sequence
        positions.set({t}, static_cast<double>(t));
        in.tensor("base").set({t}, static_cast<double>(t * window));
      } else if (note == "two prompts") {
        const int64_t half = (p.dim("T") + 1) / 2;
        positions.set({t}, static_cast<double>(t < half ? t : t - half));
        in.tensor("base").set({t}, t < half ? 0.0 : static_cast<double>(window));
      } else {
        positions.set({t}, static_cast<double>(t + (note == "decode"   ? 5 * window + 3
                                                    : note == "middle" ? 37
                                                                       : 0)));
      }
    }
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    const std::map<std::string, DType> plain = {{"kv", DType::bf16}, {"cache", DType::bf16}};
    const std::map<std::string, DType> wide = {{"kv", DType::f32}, {"cache", DType::f32}};
    const std::map<std::string, DType> based = {
        {"kv", DType::bf16}, {"cache", DType::bf16}, {"base", DType::i32}};
    for (int64_t T : {0, 1, 127, 128, 129, 300})
      list.push_back(
          {.dims = {{"T", T}, {"D", 16}, {"R", 130}}, .dtypes = plain, .note = "prompt"});
    list.push_back({.dims = {{"T", 200}, {"D", 24}, {"R", 128}}, .dtypes = wide, .note = "middle"});
    list.push_back({.dims = {{"T", 1}, {"D", 512}, {"R", 128}}, .dtypes = plain, .note = "decode"});
    list.push_back({.dims = {{"T", 21}, {"D", 40}, {"R", 21 * 8}},
                    .dtypes = based,
                    .attributes = {{"window", 8}},
                    .note = "batch"});
    list.push_back({.dims = {{"T", 45}, {"D", 40}, {"R", 16}},
                    .dtypes = based,
                    .attributes = {{"window", 8}},
                    .note = "two prompts"});
    list.push_back(Case{.dims = {{"T", 21}, {"D", 40}, {"R", 21 * 8}},
                        .dtypes = based,
                        .attributes = {{"window", 8}},
                        .note = "staggered"});
    list.push_back(bench_case({{"T", 1}, {"D", 512}, {"R", 128}}, plain, {}, "decode"));
    list.push_back(bench_case({{"T", 512}, {"D", 512}, {"R", 128}}, plain, {}, "prompt"));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const auto rows = static_cast<double>(std::min(p.dim("T"), p.dim("R")));
    const double row = static_cast<double>(size_in_bytes(p.dtype("kv"), p.dim("D")));
    return {.bytes_read = rows * row, .bytes_written = rows * row};
  }
};

}  // namespace tessera::ops
