// SPDX-License-Identifier: Apache-2.0
// What a step appends to each sequence: the next token of a prompt that is longer than others, or
// what was sampled; and which sequences have ended.
#pragma once

#include <algorithm>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct StopMask {
  static Signature signature() {
    return {
        .name = "stop_mask",
        .family = "sampling",
        .rows = "70",
        .summary = "prompt tokens in place of sampled ones; sequences that met a stop token",
        .formula =
            "next[t] = prompt[t] >= 0 ? prompt[t] : sampled[t]; finished[t] |= prompt[t] < 0 and "
            "next[t] in stop; all[0] = 1 if every finished[t], else 0. sampled, prompt (-1: the "
            "prompt is over), next i32 [T], stop i32 [Q], finished i32 [T] of 0 and 1.",
        .source = "generate.py: torch.where(prompt_mask, tokens, next_token), finished",
        .tensors = {in("sampled", "T", {DType::i32}), in("prompt", "T", {DType::i32}),
                    in("stop", "Q", {DType::i32}), inout("finished", "T", {DType::i32}),
                    out("next", "T", {DType::i32}), out("all", "1", {DType::i32})},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t rows = std::min<int64_t>(b.m_class("T"), 64), stops = pow2_ceil(b.dim("Q"));
    b.kernel("rows", {1}, b.tensors({"sampled", "prompt", "stop", "finished", "next", "all"}),
             [=](KernelBuilder& k, View sampled, View prompt, View stop, View finished, View next,
                 View all) {
               const Tile stop_tokens = reshape(load(stop, {0}, {stops}, -1), {1, stops});
               const auto [running] = k.for_range(
                   0, sampled.extent(0), rows, lang::carry(k.zeros(DType::i32, {rows})),
                   [&](Tile t, Tile running) {
                     const Tile given = load(prompt, {t}, {rows}, -1);
                     const Tile free = given < 0;
                     const Tile token = select(free, load(sampled, {t}, {rows}), given);
                     // Prompt tokens and fills are no stop: they compare as -2.
                     const Tile candidate = reshape(select(free, token, -2), {rows, 1});
                     const Tile meets =
                         reshape(reduce_max(cast(candidate == stop_tokens, DType::i32), 1), {rows});
                     // Rows behind the last count as ended.
                     const Tile ended = load(finished, {t}, {rows}, 1) | meets;
                     store(next, {t}, token);
                     store(finished, {t}, ended);
                     return lang::carry(max(running, 1 - ended));
                   });
               store(all, {0}, 1 - reduce_max(running, 0));
             });
  }

  static void reference(const Reference& r) {
    bool all = true;
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const bool free = r.in("prompt").at({t}) < 0;
      const double token = free ? r.in("sampled").at({t}) : r.in("prompt").at({t});
      bool ended = r.in("finished").at({t}) != 0;
      for (int64_t q = 0; q < r.dim("Q"); ++q)
        ended = ended || (free && token == r.in("stop").at({q}));
      r.out("next").set({t}, token);
      r.out("finished").set({t}, ended ? 1 : 0);
      all = all && ended;
    }
    r.out("all").set({0}, all ? 1 : 0);
  }

  static void fill(Inputs& in) {
    HostTensor& stop = in.tensor("stop");
    for (int64_t q = 0; q < stop.numel(); ++q) stop.set({q}, static_cast<double>(q));
    const bool done = in.test_case().note == "all end";
    for (int64_t t = 0; t < in.problem().dim("T"); ++t) {
      in.tensor("sampled").set({t}, static_cast<double>(in.integer(0, done ? 0 : 5)));
      in.tensor("prompt").set({t}, done || t % 3 ? -1 : static_cast<double>(in.integer(0, 5)));
      in.tensor("finished").set({t}, t % 4 == 1 ? 1 : 0);
    }
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (int64_t T : {0, 1, 3, 9, 65, 130}) list.push_back({{{"T", T}, {"Q", 3}}});
    list.push_back({{{"T", 70}, {"Q", 1}}, {}, {}, false, true, "all end"});
    list.push_back({{{"T", 5}, {"Q", 0}}, {}, {}, false, true, "no stop token"});
    for (int64_t T : {1, 64}) list.push_back(bench_case({{"T", T}, {"Q", 2}}));
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const auto rows = static_cast<double>(p.dim("T"));
    return {.bytes_read = 12 * rows, .bytes_written = 8 * rows};
  }
};

}  // namespace tessera::ops
