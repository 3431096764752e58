// SPDX-License-Identifier: Apache-2.0
// The activation between the two halves of an expert.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct SwigluClamp {
  static Signature signature() {
    return {
        .name = "swiglu_clamp",
        .family = "activation",
        .rows = "58,59",
        .summary = "Clamped SwiGLU times the routing weight.",
        .formula =
            "u = clamp(up, -limit, limit), g = min(gate, limit) (no lower bound); y = weight[t] * "
            "silu(g) * u "
            "in f32, rounded once\n"
            "gate, up [T, N] bf16, weight [T] f32 (left out: 1), y [T, N] bf16; limit 0: no clamp. "
            "NaN stays "
            "NaN.",
        .source = "model.py:601-605",
        .tensors = {in("gate", "T,N", {DType::bf16, DType::f32}),
                    in("up", "T,N", {DType::bf16, DType::f32}),
                    out("y", "T,N", {DType::bf16, DType::f32}),
                    optional(in("weight", "T", {DType::f32}))},
        .attributes = {{"limit", 10}},
    };
  }

  /// How silu is computed: processors divide beside other arithmetic; chips with many small
  /// programs have sigmoid as a few instructions and division as a branch.
  enum class Silu : uint8_t { kQuotient, kSigmoid };
  static Silu silu_of(const PlanBuilder& b) {
    return b.caps().gemv_rows < 16 ? Silu::kSigmoid : Silu::kQuotient;
  }
  /// silu(g) * u of f32 tiles. A quotient's factor of the exponent is rounded once: see
  /// tolerance().
  static Tile activate(Tile gate, Tile up, double limit, Silu silu) {
    if (limit != 0) {
      gate = min(gate, limit);
      up = clamp(up, -limit, limit);
    }
    if (silu == Silu::kSigmoid) return gate * sigmoid(gate) * up;
    return gate / (exp2(gate * -std::numbers::log2e) + 1.0) * up;
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("N");
    const RowTiling t = row_tiling(b, "T", width);
    const double limit = b.attribute("limit");
    const bool weighted = b.has("weight");
    const Silu silu = silu_of(b);
    const DType to = b.dtype("y");
    // Wide rows are shared by programs, so that one token still fills a chip.
    const int64_t span = round_up(std::min(b.caps().program_grain, width), t.cols);
    const auto body = [=](KernelBuilder& k, View gate, View up, View y, View weight) {
      for_program(k, 1, t.per_program, t.rows, gate.extent(0), [&](Tile row) {
        for_program(k, 0, span, t.cols, gate.extent(1), [&](Tile c) {
          const Tile gates = load(gate, {row, c}, t.shape()), ups = load(up, {row, c}, t.shape());
          // After what is long on its way: its threads exchange it as soon as it is there.
          const Tile w = weighted ? reshape(load(weight, {row}, {t.rows}), {t.rows, 1}) : Tile();
          const Tile value = activate(to_f32(gates), to_f32(ups), limit, silu);
          store(y, {row, c}, cast(weighted ? value * w : value, to));
        });
      });
    };
    const std::vector<int64_t> grid = {programs_for(width, span), t.programs(b.dim("T"))};
    const Arg gate = b.tensor("gate"), up = b.tensor("up"),
              y = streamed_if_large(b, "y", "T", width);
    if (weighted)
      b.kernel("rows_weighted", grid, {gate, up, y, b.tensor("weight")}, body);
    else
      b.kernel("rows", grid, {gate, up, y},
               [body](KernelBuilder& k, View gate, View up, View y) { body(k, gate, up, y, {}); });
  }

  /// The same in double, for the references of this operator and of those that contain it.
  static double expected(double gate, double up, double weight, double limit) {
    const double bound = limit == 0 ? std::numeric_limits<double>::infinity() : limit;
    if (gate > bound) gate = bound;
    if (up > bound) up = bound;
    if (up < -bound) up = -bound;
    return gate / (1 + std::exp(-gate)) * up * weight;
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t n = 0; n < r.dim("N"); ++n)
        r.out("y").set(
            {t, n}, expected(r.in("gate").at({t, n}), r.in("up").at({t, n}),
                             r.has("weight") ? r.in("weight").at({t}) : 1, r.attribute("limit")));
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"gate", DType::bf16}, {"up", DType::bf16}, {"y", DType::bf16}};
    const Types f32 = {{"gate", DType::f32}, {"up", DType::f32}, {"y", DType::f32}};
    const Types mixed = {{"gate", DType::f32}, {"up", DType::f32}, {"y", DType::bf16}};
    Types weighted = bf16, weighted_f32 = f32;
    weighted["weight"] = weighted_f32["weight"] = DType::f32;
    return {
        {{{"T", 1}, {"N", 2048}}, weighted, {}, false, true, "Flash expert"},
        {{{"T", 6}, {"N", 3072}}, weighted, {}, false, true, "Pro expert"},
        {{{"T", 17}, {"N", 2048}}, bf16, {}, false, true, "shared expert"},
        {{{"T", 3}, {"N", 4500}}, weighted_f32},
        {{{"T", 70}, {"N", 50}}, weighted_f32, {}, false, true, "several rows a program"},
        {{{"T", 5}, {"N", 77}}, mixed, {{"limit", 0}}},
        {{{"T", 5}, {"N", 200}}, f32, {{"limit", 2}}},
        {{{"T", 4}, {"N", 128}}, weighted, {}, false, true, "nan"},
        {{{"T", 0}, {"N", 2048}}, bf16},
        bench_case({{"T", 1}, {"N", 2048}}, weighted),
        bench_case({{"T", 384}, {"N", 2048}}, weighted),
        bench_case({{"T", 32768}, {"N", 2048}}, weighted, {}, "384 MB"),
    };
  }

  /// Gates and ups on both sides of both bounds.
  static void fill_sides(Inputs& in) {
    if (!in.test_case().test) return;
    HostTensor &gate = in.tensor("gate"), &up = in.tensor("up");
    for (int64_t i = 0; i < gate.numel(); ++i) {
      gate.set_flat(i, in.normal(i % 3 == 0 ? 12 : 2));
      up.set_flat(i, in.normal(i % 4 == 0 ? 12 : 2));
    }
    if (in.problem().has("weight"))
      for (int64_t t = 0; t < gate.extent(0); ++t)
        in.tensor("weight").set({t}, t == 2 ? 0 : in.uniform(0.1, 1.5));
    if (in.test_case().note == "nan") {
      gate.set({0, 3}, NAN);
      up.set({1, 127}, NAN);
      gate.set({3, 5}, 1e30);
      gate.set({3, 6}, -1e30);
      up.set({3, 7}, -INFINITY);
    }
  }
  static void fill(Inputs& in) { fill_sides(in); }

  /// exp with arguments up to 90: 90 * 2^-24; a quotient and two products.
  static Tolerance tolerance(const Problem&) { return {.absolute = 1e-37, .relative = 1.5e-5}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("N"));
    return {.bytes_read = elements * (bits(p.dtype("gate")) + bits(p.dtype("up"))) / 8 +
                          (p.has("weight") ? 4.0 * p.dim("T") : 0),
            .bytes_written = elements * bits(p.dtype("y")) / 8,
            .flops = 20 * elements};
  }
};

}  // namespace tessera::ops
