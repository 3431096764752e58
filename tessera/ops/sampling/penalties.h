// SPDX-License-Identifier: Apache-2.0
// Repetition, frequency and presence penalties on logits.
#pragma once

#include <algorithm>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct Penalties {
  static Signature signature() {
    return {
        .name = "penalties",
        .family = "sampling",
        .rows = "69",
        .summary = "repetition, frequency and presence penalties",
        .formula =
            "with n = generated[sequence[t], v] and m = n + prompt[sequence[t], v]: z = m > 0 ? "
            "(x[t,v] > 0 ? x[t,v] / repetition[t] : x[t,v] repetition[t]) : x[t,v]; y[t,v] = z - "
            "frequency[t] n - (n > 0 ? presence[t] : 0), each step in f32. x, y [T,V] f32; counts "
            "i32 [S,V] as token_count keeps them, prompt may be left out; sequence i32 [T]; "
            "repetition (1: none), frequency, presence (0: none) f32 [T].",
        .source =
            "Keskar et al. 2019 (repetition); OpenAI API reference (frequency, presence); "
            "vLLM apply_penalties",
        .tensors = {in("x", "T,V", {DType::f32}), in("sequence", "T", {DType::i32}),
                    in("generated", "S,V", {DType::i32}),
                    optional(in("prompt", "S,V", {DType::i32})),
                    in("repetition", "T", {DType::f32}), in("frequency", "T", {DType::f32}),
                    in("presence", "T", {DType::f32}), out("y", "T,V", {DType::f32})},
        .dynamic_dims = {"T", "S"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("V");
    const int64_t cols = std::min(b.caps().vector_tile, pow2_ceil(width));
    const int64_t span = std::max(round_up(b.caps().program_grain, cols), cols);
    b.kernel_named("rows", {programs_for(width, span), b.dim("T")},
                   b.tensors({"x", "sequence", "generated", "prompt", "repetition", "frequency",
                              "presence", "y"}),
                   [=](KernelBuilder& k, const NamedViews& v) {
                     const Tile t = k.program_id(1);
                     const Tile row = cast(load_scalar(v["sequence"], {t}), DType::i64);
                     const Tile repetition = load_scalar(v["repetition"], {t}),
                                frequency = load_scalar(v["frequency"], {t}),
                                presence = load_scalar(v["presence"], {t});
                     for_program(k, 0, span, cols, v["x"].extent(1), [&](Tile c) {
                       const Tile x = load(v["x"], {t, c}, {cols});
                       const Tile n = load(v["generated"], {row, c}, {cols});
                       const Tile m = v.has("prompt") ? n + load(v["prompt"], {row, c}, {cols}) : n;
                       const Tile repeated = select(x > 0.0, x / repetition, x * repetition);
                       const Tile z = select(m > 0, repeated, x) - to_f32(n) * frequency;
                       store(v["y"], {t, c}, z - select(n > 0, presence, 0.0));
                     });
                   });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t v = 0; v < r.dim("V"); ++v) {
        const auto s = static_cast<int64_t>(r.in("sequence").at({t}));
        const double n = r.in("generated").at({s, v});
        double z = r.in("x").at({t, v});
        const double magnitude = std::abs(z) + n * std::abs(r.in("frequency").at({t}));
        if (n > 0 || (r.has("prompt") && r.in("prompt").at({s, v}) > 0)) {
          if (z > 0)
            z /= r.in("repetition").at({t});
          else
            z *= r.in("repetition").at({t});
        }
        z -= r.in("frequency").at({t}) * n;
        if (n > 0) z -= r.in("presence").at({t});
        r.out("y").set({t, v}, z, magnitude + std::abs(z));
      }
  }

  static void fill(Inputs& in) {
    const int64_t S = in.problem().dim("S");
    for (int64_t t = 0; t < in.problem().dim("T"); ++t) {
      in.tensor("sequence").set({t}, static_cast<double>(in.integer(0, S - 1)));
      in.tensor("repetition").set({t}, t % 3 == 2 ? 1 : in.uniform(0.8, 1.5));
      in.tensor("frequency").set({t}, t % 4 == 1 ? 0 : in.uniform(-1, 1));
      in.tensor("presence").set({t}, t % 5 == 1 ? 0 : in.uniform(-1, 1));
    }
    for (const char* name : {"generated", "prompt"}) {
      if (!in.problem().has(name)) continue;
      HostTensor& counts = in.tensor(name);
      for (int64_t i = 0; i < counts.numel(); ++i)
        counts.set_flat(i, in.integer(0, 3) ? 0 : static_cast<double>(in.integer(1, 6)));
    }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> prompt = {{"prompt", DType::i32}};
    std::vector<Case> list;
    for (int64_t T : {0, 1, 5, 17}) list.push_back({{{"T", T}, {"S", 3}, {"V", 1000}}, prompt});
    list.push_back({{{"T", 9}, {"S", 2}, {"V", 77}}});
    list.push_back({{{"T", 2}, {"S", 2}, {"V", 129280}}, prompt, {}, false, true, "Flash"});
    for (int64_t T : {1, 64})
      list.push_back(bench_case({{"T", T}, {"S", 64}, {"V", 129280}}, prompt));
    return list;
  }

  /// Four roundings of terms that may cancel.
  static Tolerance tolerance(const Problem&) { return {.absolute = 1e-6, .scaled = 4 * 0x1p-24}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("V"));
    return {.bytes_read = elements * (p.has("prompt") ? 12 : 8),
            .bytes_written = 4 * elements,
            .flops = 6 * elements};
  }
};

}  // namespace tessera::ops
