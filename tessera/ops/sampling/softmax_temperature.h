// SPDX-License-Identifier: Apache-2.0
// Probabilities of the next token: softmax of logits over temperature, in two passes over parts of
// the vocabulary.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct SoftmaxTemperature {
  static Signature signature() {
    return {
        .name = "softmax_temperature",
        .family = "sampling",
        .rows = "66",
        .summary = "Softmax of logits / max(temperature, 1e-5) over the vocabulary.",
        .formula =
            "z = x[t, :] / max(temperature[t], 1e-5); y[t, v] = exp(z[v] - max z) / sum_v exp(z[v] "
            "- max z)\n"
            "x [T, V] f32, temperature [T] f32, y [T, V] f32; logits of -inf get 0",
        .source = "generate.py (sample)",
        .tensors = {in("x", "T,V", {DType::f32}), in("temperature", "T", {DType::f32}),
                    out("y", "T,V", {DType::f32})},
    };
  }

  static void plan(PlanBuilder& b) {
    constexpr double kNone = -std::numeric_limits<double>::infinity();
    const int64_t width = b.dim("V"), rows = b.dim("T");
    const int64_t cols = std::min(b.caps().vector_tile, pow2_ceil(width));
    const int64_t elements = std::max(round_up(b.caps().program_grain, cols), cols);
    const int64_t parts = std::max<int64_t>(programs_for(width, elements), 1);
    const int64_t part_cols = std::min(b.caps().vector_tile, pow2_ceil(parts));
    const Arg tops = b.workspace("tops", DType::f32, {rows, parts}, {true, false});
    const Arg sums = b.workspace("sums", DType::f32, {rows, parts}, {true, false});
    const Arg x = b.tensor("x"), temperature = b.tensor("temperature");
    const auto scaled = [cols](const View& x, Tile row, Tile c, Tile divisor) {
      return load(x, {row, c}, {cols}, kNone) / divisor;
    };
    const auto divisor_of = [](const View& temperature, Tile row) {
      return max(load_scalar(temperature, {row}, 1), 1e-5);
    };

    b.kernel(
        "parts", {parts, rows},
        {x, temperature, tops.with_access(Access::kWrite), sums.with_access(Access::kWrite)},
        [=](KernelBuilder& k, View x, View temperature, View tops, View sums) {
          const Tile part = k.program_id(0), row = k.program_id(1), first = part * elements;
          const Tile end = min(first + elements, x.extent(1)),
                     divisor = divisor_of(temperature, row);
          const auto [lanes] = k.for_range(
              first, end, cols, lang::carry(k.constant(DType::f32, {cols}, kNone)),
              [&](Tile c, Tile top) { return lang::carry(max(top, scaled(x, row, c, divisor))); });
          const Tile top = reduce_max(lanes, 0);
          // All -inf: nothing to add, and no -inf minus -inf.
          const Tile base = select(top == kNone, 0, top);
          const auto [sum] = k.for_range(
              first, end, cols, lang::carry(k.zeros(DType::f32, {cols})), [&](Tile c, Tile sum) {
                return lang::carry(sum + exp(scaled(x, row, c, divisor) - base));
              });
          store(tops, {row, part}, top);
          store(sums, {row, part}, reduce_sum(sum, 0));
        });
    b.kernel("scale", {parts, rows},
             {x, temperature, tops.with_access(Access::kRead), sums.with_access(Access::kRead),
              b.tensor("y")},
             [=](KernelBuilder& k, View x, View temperature, View tops, View sums, View y) {
               const Tile part = k.program_id(0), row = k.program_id(1), first = part * elements;
               const Tile end = min(first + elements, x.extent(1)),
                          divisor = divisor_of(temperature, row);
               const auto [lanes] = k.for_range(
                   0, tops.extent(1), part_cols,
                   lang::carry(k.constant(DType::f32, {part_cols}, kNone)), [&](Tile p, Tile top) {
                     return lang::carry(max(top, load(tops, {row, p}, {part_cols}, kNone)));
                   });
               const Tile top = reduce_max(lanes, 0);
               const auto [all] = k.for_range(
                   0, tops.extent(1), part_cols, lang::carry(k.zeros(DType::f32, {part_cols})),
                   [&](Tile p, Tile sum) {
                     const Tile factor = exp(load(tops, {row, p}, {part_cols}, kNone) - top);
                     return lang::carry(fma(factor, load(sums, {row, p}, {part_cols}), sum));
                   });
               const Tile inverse = 1.0f / reduce_sum(all, 0);
               k.for_range(first, end, cols, [&](Tile c) {
                 store(y, {row, c}, exp(scaled(x, row, c, divisor) - top) * inverse);
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const double divisor = std::max(r.in("temperature").at({t}), 1e-5);
      double top = -INFINITY, sum = 0;
      for (int64_t v = 0; v < r.dim("V"); ++v) top = std::max(top, r.in("x").at({t, v}) / divisor);
      for (int64_t v = 0; v < r.dim("V"); ++v)
        sum += std::exp(r.in("x").at({t, v}) / divisor - top);
      for (int64_t v = 0; v < r.dim("V"); ++v)
        r.out("y").set({t, v}, std::exp(r.in("x").at({t, v}) / divisor - top) / sum);
    }
  }

  static std::vector<Case> cases() {
    return {
        {{{"T", 1}, {"V", 129280}}, {}, {}, false, true, "Flash vocabulary"},
        {{{"T", 3}, {"V", 5000}}},
        {{{"T", 17}, {"V", 4097}}, {}, {}, false, true, "masked logits"},
        {{{"T", 70}, {"V", 33}}},
        {{{"T", 4}, {"V", 9000}}, {}, {}, false, true, "temperature 0"},
        {{{"T", 2}, {"V", 1}}},
        {{{"T", 0}, {"V", 1000}}},
        bench_case({{"T", 1}, {"V", 129280}}),
        bench_case({{"T", 64}, {"V", 129280}}),
    };
  }

  static void fill(Inputs& in) {
    HostTensor &x = in.tensor("x"), &temperature = in.tensor("temperature");
    const std::string& note = in.test_case().note;
    if (!in.test_case().test) return;
    for (int64_t t = 0; t < x.extent(0); ++t) {
      // -1 stands for "no temperature given".
      temperature.set({t}, note != "temperature 0" ? in.uniform(0.3, 1.5) : t % 2 ? -1 : 0);
      for (int64_t v = 0; v < x.extent(1); ++v) {
        // Differences of the order of the least temperature, so that it matters.
        double logit =
            note == "temperature 0" ? 1e-5 * static_cast<double>(in.integer(-9, 9)) : in.normal(4);
        if (note == "masked logits" && (v < 4096 ? v % 5 != 2 : true)) logit = -INFINITY;
        x.set({t, v}, logit);
      }
    }
  }

  /// Quotients up to 60 in f32: 60 * 2^-23 in the exponent, twice; sums of many terms in many
  /// lanes. Absolute: what underflows.
  static Tolerance tolerance(const Problem&) { return {.absolute = 1e-37, .relative = 5e-5}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("V"));
    return {.bytes_read = 4 * elements, .bytes_written = 4 * elements, .flops = 40 * elements};
  }
};

}  // namespace tessera::ops
