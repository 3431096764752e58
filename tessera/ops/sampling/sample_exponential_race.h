// SPDX-License-Identifier: Apache-2.0
// Draws a token: every candidate runs an exponential race, the largest p / Exp(1) wins.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tessera/ops/sampling/argmax.h"

namespace tessera::ops {

struct SampleExponentialRace {
  static Signature signature() {
    return {
        .name = "sample_exponential_race",
        .family = "sampling",
        .rows = "67",
        .summary =
            "Draws an index with probability proportional to p, from a counter-based random "
            "number.",
        .formula =
            "token[t] = argmax_v p[t, v] / E(t, v), ties to the lowest v; E = -log1p(-u), u = "
            "(floor(r / 2^9) "
            "+ 1/2) 2^-23, r = word 0 of Philox 4x32-10 with counter v and key seed[t] xor "
            "(step[t] << 32)\n"
            "p [T, V] f32, not necessarily normalised; an element of 0 is never drawn where "
            "another is above "
            "0. Rows with temperature[t] = 0 take the plain argmax. seed, step [T] i64, token [T].",
        .source = "generate.py (sample)",
        .tensors = {in("p", "T,V", {DType::f32}), in("seed", "T", {DType::i64}),
                    in("step", "T", {DType::i64}), out("token", "T", {DType::i32, DType::i64}),
                    optional(in("temperature", "T", {DType::f32}))},
    };
  }

  static void plan(PlanBuilder& b) {
    const Argmax::Parts p = Argmax::parts_of(b, b.dim("T"));
    const bool has_temperature = b.has("temperature");
    const auto body = [cols = p.cols, elements = p.elements, has_temperature](
                          KernelBuilder& k, View p, View seed, View step, View values, View indices,
                          View temperature) {
      const Tile part = k.program_id(0), row = k.program_id(1), first = part * elements;
      const Tile key = load_scalar(seed, {row}) ^ (load_scalar(step, {row}) << 32);
      const Tile greedy =
          has_temperature ? load_scalar(temperature, {row}) <= 0 : k.constant(DType::i1, {}, 0);
      const Tile end = min(first + elements, p.extent(1));
      const Argmax::Best best = Argmax::best_of(k, first, end, cols, [&](Tile c, Tile lanes) {
        const Tile index = lanes + cast(c, DType::i32);
        const Tile chance = load(p, {row, c}, {cols}, Argmax::kNone);
        const Tile bits = random_bits(cast(index, DType::u32), key) >> 9;
        const Tile u = (to_f32(bits) + 0.5f) * 0x1p-23f;
        return std::pair(select(greedy, chance, chance / -log1p(-u)), index);
      });
      store(values, {row, part}, best.value);
      store(indices, {row, part}, Argmax::index_in(best, p.extent(1)));
    };
    std::vector<Arg> args = {b.tensor("p"), b.tensor("seed"), b.tensor("step"),
                             p.values.with_access(Access::kWrite),
                             p.indices.with_access(Access::kWrite)};
    const std::vector<int64_t> grid = {p.count, b.dim("T")};
    if (has_temperature) {
      args.push_back(b.tensor("temperature"));
      b.kernel("parts_or_greedy", grid, args, body);
    } else {
      b.kernel("parts", grid, args,
               [body](KernelBuilder& k, View p, View seed, View step, View values, View indices) {
                 body(k, p, seed, step, values, indices, {});
               });
    }
    Argmax::plan_choice(b, p, b.tensor("token"));
  }

  /// Philox 4x32-10, word 0, written from the paper (Salmon et al., 2011).
  static uint32_t philox(uint32_t counter, uint64_t key) {
    std::array<uint32_t, 4> c = {counter, 0, 0, 0};
    auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
      const uint64_t a = uint64_t{0xd2511f53u} * c[0], b = uint64_t{0xcd9e8d57u} * c[2];
      c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(b),
           static_cast<uint32_t>(a >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(a)};
    }
    return c[0];
  }
  template <class Source>
  static double score(const Source& r, bool has_temperature, int64_t t, int64_t v) {
    const double p = r.in("p").at({t, v});
    if (has_temperature && r.in("temperature").at({t}) <= 0) return p;
    const auto seed = static_cast<uint64_t>(static_cast<int64_t>(r.in("seed").at({t})));
    const auto step = static_cast<uint64_t>(static_cast<int64_t>(r.in("step").at({t})));
    const double u = ((philox(static_cast<uint32_t>(v), seed ^ (step << 32)) >> 9) + 0.5) * 0x1p-23;
    return p / -std::log1p(-u);
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      double best = -1;
      int64_t winner = 0;
      for (int64_t v = 0; v < r.dim("V"); ++v) {
        const double s = score(r, r.has("temperature"), t, v);
        if (s > best) {
          best = s;
          winner = v;
        }
      }
      r.out("token").set({t}, static_cast<double>(winner));
    }
  }

  /// The drawn token is the winner, or so near to it that the rounding of p / E decides.
  static std::string check(const Check& c) {
    const bool has_temperature = c.problem.has("temperature");
    for (int64_t t = 0; t < c.problem.dim("T"); ++t) {
      const auto got = static_cast<int64_t>(c.got("token").at({t})),
                 want = static_cast<int64_t>(c.want("token").at({t}));
      if (got == want) continue;
      const bool inside = got >= 0 && got < c.problem.dim("V");
      const bool greedy = has_temperature && c.in("temperature").at({t}) <= 0;
      const double best = score(c, has_temperature, t, want);
      if (inside && !greedy && score(c, has_temperature, t, got) >= best * (1 - 1e-5)) continue;
      return fmt::format("token of row {} is {}, expected {} with score {}", t, got, want, best);
    }
    return {};
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types plain = {{"token", DType::i64}};
    const Types mixed = {{"token", DType::i32}, {"temperature", DType::f32}};
    return {
        {{{"T", 1}, {"V", 129280}}, plain, {}, false, true, "Flash vocabulary"},
        {{{"T", 17}, {"V", 5000}}, mixed, {}, false, true, "every third row greedy"},
        {{{"T", 70}, {"V", 40}}, plain, {}, false, true, "flat"},
        {{{"T", 5}, {"V", 4100}}, plain, {}, false, true, "one candidate"},
        {{{"T", 3}, {"V", 1}}, plain},
        {{{"T", 0}, {"V", 100}}, plain},
        bench_case({{"T", 1}, {"V", 129280}}, plain),
        bench_case({{"T", 64}, {"V", 129280}}, plain),
    };
  }

  static void fill(Inputs& in) {
    HostTensor &p = in.tensor("p"), &seed = in.tensor("seed"), &step = in.tensor("step");
    const std::string& note = in.test_case().note;
    const bool mixed = in.problem().has("temperature");
    for (int64_t t = 0; t < p.extent(0); ++t) {
      seed.set({t}, static_cast<double>(in.integer(0, int64_t{1} << 52)));
      step.set({t}, static_cast<double>(in.integer(0, 1 << 20)));
      if (mixed) in.tensor("temperature").set({t}, t % 3 == 0 ? 0 : in.uniform(0.3, 1));
      for (int64_t v = 0; v < p.extent(1); ++v)
        p.set({t, v}, note == "flat"            ? 1.0
                      : note == "one candidate" ? 0.0
                                                : std::exp(in.normal(3)) * 1e-4);
      if (note == "one candidate") p.set({t, p.extent(1) - 1 - t}, 1e-30);
    }
  }

  /// See check().
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("V"));
    return {.bytes_read = 4 * elements + 16.0 * p.dim("T"),
            .bytes_written = 8.0 * p.dim("T"),
            .flops = 60 * elements};
  }
};

}  // namespace tessera::ops
