// SPDX-License-Identifier: Apache-2.0
// Which drafted tokens stand, and the token after them: greedy comparison or rejection sampling.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tessera/ops/sampling/argmax.h"
#include "tessera/ops/sampling/sample_exponential_race.h"

namespace tessera::ops {

struct DraftVerify {
  static constexpr uint32_t kAcceptCounter = 0xffffffff;  // no candidate has this number
  static constexpr float kLeast = 0x1p-64f;

  static Signature signature() {
    return {
        .name = "draft_verify",
        .family = "sampling",
        .rows = "65",
        .summary = "accepts drafted tokens so that what stands is distributed as the model samples",
        .formula =
            "draft i of sequence s stands if all before it do, it is not -1, and: greedy "
            "(temperature[s] <= 0): it is argmax_v p[s,i,v]; else u q[s,i,d] < p[s,i,d]. accepted "
            "= their number a; tokens[s,:a] = drafts[s,:a]; tokens[s,a] = argmax of p[s,a,:], or "
            "drawn by the exponential race from max(p - q, 2^-64 p) at a where a draft was "
            "rejected, from p where there was none; -1 behind. u and the race of row i as in "
            "sample_exponential_race with step[s] + i, u from counter 2^32 - 1. p [S,K+1,V], q "
            "[S,K,V] f32 normalised; q left out: 1 at the draft, else 0. drafts i32 [S,K].",
        .source = "Leviathan et al. 2023, algorithm 1; Chen et al. 2023",
        .tensors = {in("p", "S,K+1,V", {DType::f32}), optional(in("q", "S,K,V", {DType::f32})),
                    in("drafts", "S,K", {DType::i32}), in("seed", "S", {DType::i64}),
                    in("step", "S", {DType::i64}), optional(in("temperature", "S", {DType::f32})),
                    out("accepted", "S", {DType::i32}), out("tokens", "S,K+1", {DType::i32})},
        .dynamic_dims = {"S"},
    };
  }

  /// Of row i of a sequence.
  static Tile key_of(const NamedViews& v, Tile s, Tile i) {
    return load_scalar(v["seed"], {s}) ^ ((load_scalar(v["step"], {s}) + i) << 32);
  }
  static Tile uniform(Tile bits) { return (to_f32(bits >> 9) + 0.5f) * 0x1p-23f; }
  static Tile greedy(KernelBuilder& k, const NamedViews& v, Tile s) {
    if (!v.has("temperature")) return k.constant(DType::i1, {}, 0);
    return load_scalar(v["temperature"], {s}) <= 0;
  }

  /// For every row of p: the token to follow if the drafts before it stand and its own does not.
  static void plan_winners(PlanBuilder& b, const Arg& winners) {
    const int64_t rows = b.dim("K") + 1;
    const Argmax::Parts parts = Argmax::parts_of(b, b.dim("S") * rows);
    std::vector<Arg> args = b.tensors({"p", "q", "drafts", "seed", "step", "temperature"});
    args.push_back(parts.values.with_access(Access::kWrite));
    args.push_back(parts.indices.with_access(Access::kWrite));
    b.kernel_named(
        "parts", {parts.count, parts.rows}, args,
        [=, cols = parts.cols, elements = parts.elements](KernelBuilder& k, const NamedViews& v) {
          const View& p = v["p"];
          const Tile part = k.program_id(0), row = k.program_id(1), first = part * elements;
          const Tile s = row / rows, i = row % rows;
          const Tile plain = greedy(k, v, s), key = key_of(v, s, i);
          const Tile draft = load_scalar(v["drafts"], {s, i}, -1);
          const Tile end = min(first + elements, p.extent(2));
          const Argmax::Best best = Argmax::best_of(k, first, end, cols, [&](Tile c, Tile lanes) {
            const Tile index = lanes + cast(c, DType::i32);
            const Tile chance = load(p, {s, i, c}, {cols}, Argmax::kNone);
            Tile rest;
            if (v.has("q")) {
              rest = max(chance - load(v["q"], {s, i, c}, {cols}), chance * kLeast);
            } else {
              rest = select(index == draft, chance * kLeast, chance);
            }
            const Tile u = uniform(random_bits(cast(index, DType::u32), key));
            const Tile drawn = select(draft < 0, chance, rest) / -log1p(-u);
            return std::pair(select(plain, chance, drawn), index);
          });
          store(v["values"], {row, part}, best.value);
          store(v["indices"], {row, part}, Argmax::index_in(best, p.extent(2)));
        });
    Argmax::plan_choice(b, parts, winners);
  }

  static void plan(PlanBuilder& b) {
    const int64_t K = b.dim("K");
    const Arg winners = b.workspace("winners", DType::i32, {b.dim("S") * (K + 1)}, {true});
    plan_winners(b, winners.with_access(Access::kWrite));
    std::vector<Arg> args =
        b.tensors({"p", "q", "drafts", "seed", "step", "temperature", "accepted", "tokens"});
    args.push_back(winners.with_access(Access::kRead));
    b.kernel_named("verify", {b.dim("S")}, args, [=](KernelBuilder& k, const NamedViews& v) {
      const Tile s = k.program_id(0), plain = greedy(k, v, s);
      const auto [accepted] = k.for_range(
          0, K + 1, 1, lang::carry(k.constant(DType::i32, {}, 0)), [&](Tile i, Tile accepted) {
            const Tile winner = load_scalar(v["winners"], {s * (K + 1) + i});
            const Tile draft = load_scalar(v["drafts"], {s, i}, -1);
            const Tile d = cast(draft, DType::i64);
            const Tile p = load_scalar(v["p"], {s, i, d});
            const Tile q =
                v.has("q") ? load_scalar(v["q"], {s, i, d}) : k.constant(DType::f32, {}, 1);
            const Tile bits =
                random_bits(k.constant(DType::u32, {1}, kAcceptCounter), key_of(v, s, i));
            const Tile drawn = reshape(uniform(bits), {}) * q < p;
            const Tile here = cast(accepted, DType::i64) == i;  // all before it stand
            const Tile stands = here & (draft >= 0) & select(plain, draft == winner, drawn);
            const Tile token = select(stands, draft, select(here, winner, -1));
            store(v["tokens"], {s, i}, reshape(token, {1}));
            return lang::carry(accepted + cast(stands, DType::i32));
          });
      store(v["accepted"], {s}, reshape(accepted, {1}));
    });
  }

  /// A row in double: how draft and candidates fare.
  template <class Source>
  struct Row {
    const Source& r;
    const Problem& problem;
    int64_t s, i;

    int64_t draft() const {
      return i < problem.dim("K") ? static_cast<int64_t>(r.in("drafts").at({s, i})) : -1;
    }
    bool greedy() const { return problem.has("temperature") && r.in("temperature").at({s}) <= 0; }
    double p(int64_t v) const { return r.in("p").at({s, i, v}); }
    double q(int64_t v) const {
      return problem.has("q") ? r.in("q").at({s, i, v}) : v == draft() ? 1 : 0;
    }
    double uniform(uint32_t counter) const {
      const auto seed = static_cast<uint64_t>(static_cast<int64_t>(r.in("seed").at({s})));
      const auto step = static_cast<uint64_t>(static_cast<int64_t>(r.in("step").at({s})) + i);
      const uint32_t bits = SampleExponentialRace::philox(counter, seed ^ (step << 32));
      return ((bits >> 9) + 0.5) * 0x1p-23;
    }
    /// Above 0: the draft stands.
    double margin() const {
      if (draft() < 0) return -1;
      if (greedy()) return draft() == winner() ? 1 : -1;
      return p(draft()) - uniform(kAcceptCounter) * q(draft());
    }
    double score(int64_t v) const {
      if (greedy()) return p(v);
      const double rest = draft() < 0 ? p(v) : std::max(p(v) - q(v), p(v) * kLeast);
      return rest / -std::log1p(-uniform(static_cast<uint32_t>(v)));
    }
    int64_t winner() const {
      int64_t best = 0;
      double most = -1;
      for (int64_t v = 0; v < problem.dim("V"); ++v)
        if (const double value = score(v); value > most) {
          most = value;
          best = v;
        }
      return best;
    }
  };

  static void reference(const Reference& r) {
    const int64_t K = r.dim("K");
    for (int64_t s = 0; s < r.dim("S"); ++s) {
      int64_t accepted = 0;
      for (int64_t i = 0; i <= K; ++i) {
        const Row<Reference> row{r, r.problem(), s, i};
        if (i != accepted) {
          r.out("tokens").set({s, i}, -1);
        } else if (row.margin() > 0) {
          r.out("tokens").set({s, i}, static_cast<double>(row.draft()));
          ++accepted;
        } else {
          r.out("tokens").set({s, i}, static_cast<double>(row.winner()));
        }
      }
      r.out("accepted").set({s}, static_cast<double>(accepted));
    }
  }

  /// A row that differs is right where rounding decides between two tokens.
  static std::string check(const Check& c) {
    const int64_t K = c.problem.dim("K"), V = c.problem.dim("V");
    for (int64_t s = 0; s < c.problem.dim("S"); ++s) {
      const auto accepted = static_cast<int64_t>(c.got("accepted").at({s}));
      for (int64_t i = 0; i <= K; ++i) {
        const Row<Check> row{c, c.problem, s, i};
        const auto token = static_cast<int64_t>(c.got("tokens").at({s, i}));
        bool right;
        if (i < accepted) {
          right = row.draft() >= 0 && token == row.draft() &&
                  row.margin() > -1e-6 * (row.greedy() ? 0 : row.p(token));
        } else if (i == accepted) {
          right = token >= 0 && token < V &&
                  row.margin() < 1e-6 * (row.draft() < 0 ? 1 : row.p(row.draft())) + 1e-12 &&
                  row.score(token) >= row.score(row.winner()) * (row.greedy() ? 1 : 1 - 1e-5);
        } else {
          right = token == -1;
        }
        if (!right || accepted < 0 || accepted > K)
          return fmt::format(
              "sequence {}: {} accepted, token {} is {}; draft {}, margin {}, winner {}", s,
              accepted, i, token, row.draft(), row.margin(), row.winner());
      }
    }
    return {};
  }

  static void fill(Inputs& in) {
    const int64_t S = in.problem().dim("S"), K = in.problem().dim("K"), V = in.problem().dim("V");
    const auto distribution = [&](HostTensor& x, int64_t s, int64_t i, const HostTensor* like) {
      std::vector<double> row(static_cast<size_t>(V));
      double sum = 0;
      for (int64_t v = 0; v < V; ++v) {
        const double near = like == nullptr ? 1e-3 : like->at({s, i, v});
        row[static_cast<size_t>(v)] = near * std::exp(in.normal(like == nullptr ? 3 : 0.4));
        sum += row[static_cast<size_t>(v)];
      }
      for (int64_t v = 0; v < V; ++v) x.set({s, i, v}, row[static_cast<size_t>(v)] / sum);
    };
    HostTensor &p = in.tensor("p"), &drafts = in.tensor("drafts");
    for (int64_t s = 0; s < S; ++s) {
      in.tensor("seed").set({s}, static_cast<double>(in.integer(0, int64_t{1} << 52)));
      in.tensor("step").set({s}, static_cast<double>(in.integer(0, 1 << 20)));
      if (in.problem().has("temperature"))
        in.tensor("temperature").set({s}, s % 2 == 0 ? 0 : in.uniform(0.3, 1));
      for (int64_t i = 0; i <= K; ++i) {
        distribution(p, s, i, nullptr);
        if (i == K) break;
        if (in.problem().has("q")) distribution(in.tensor("q"), s, i, &p);
        // Mostly the likeliest token, sometimes any, sometimes none.
        int64_t draft = in.integer(0, V - 1);
        if (in.integer(0, 3) != 0)
          for (int64_t v = 0; v < V; ++v)
            if (p.at({s, i, v}) > p.at({s, i, draft})) draft = v;
        drafts.set({s, i}, s % 7 == 6 && i == K - 1 ? -1 : static_cast<double>(draft));
      }
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types q = {{"q", DType::f32}}, mixed = {{"q", DType::f32}, {"temperature", DType::f32}},
                greedy = {{"temperature", DType::f32}};
    std::vector<Case> list;
    for (int64_t K : {1, 2, 5}) {
      list.push_back({{{"S", 17}, {"K", K}, {"V", 300}}, q});
      list.push_back({{{"S", 17}, {"K", K}, {"V", 300}}, mixed});
      list.push_back({{{"S", 17}, {"K", K}, {"V", 300}}, greedy});
      list.push_back({{{"S", 9}, {"K", K}, {"V", 300}}});
    }
    list.push_back({{{"S", 1}, {"K", 1}, {"V", 129280}}, mixed, {}, false, true, "Flash"});
    list.push_back({{{"S", 0}, {"K", 2}, {"V", 100}}, q});
    for (int64_t S : {1, 64}) list.push_back(bench_case({{"S", S}, {"K", 1}, {"V", 129280}}, q));
    return list;
  }

  /// See check().
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    double bytes = static_cast<double>(p.tensor("p").bytes());
    if (p.has("q")) bytes += static_cast<double>(p.tensor("q").bytes());
    return {
        .bytes_read = bytes, .bytes_written = 4.0 * p.dim("S") * (p.dim("K") + 2), .flops = bytes};
  }
};

}  // namespace tessera::ops
