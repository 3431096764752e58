// SPDX-License-Identifier: Apache-2.0
// Which tokens may be drawn: top-k, top-p and min-p. A row's cut is found by bisection over the
// bits of the probabilities, so nothing is sorted.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct SamplingFilter {
  static Signature signature() {
    return {
        .name = "sampling_filter",
        .family = "sampling",
        .rows = "68",
        .summary = "zeroes the probabilities that top-k, top-p or min-p leave out",
        .formula =
            "order v by p descending, ties by v ascending. y[t,v] = p[t,v] for those v that pass "
            "all, else 0: (1) among the first top_k[t] (<= 0: all); (2) the shortest prefix of (1) "
            "whose sum is >= top_p[t] times the sum of (1), at least one (>= 1: all of it); (3) "
            "p[t,v] >= min_p[t] max p (<= 0: all). p [T,V] f32, not negative, not necessarily "
            "normalised; y [T,V] is not normalised again. top_k i32 [T], top_p, min_p f32 [T], "
            "each may be left out.",
        .source =
            "samplers of vLLM, llama.cpp and transformers in the order top-k, top-p, min-p; "
            "min-p: Nguyen et al. 2024",
        .tensors = {in("p", "T,V", {DType::f32}), optional(in("top_k", "T", {DType::i32})),
                    optional(in("top_p", "T", {DType::f32})),
                    optional(in("min_p", "T", {DType::f32})), out("y", "T,V", {DType::f32})},
    };
  }

  /// One row of p, walked in tiles. Probabilities are not negative: their bits have their order.
  struct Row {
    KernelBuilder& k;
    View p;
    Tile row;
    int64_t cols;

    Tile at(Tile c) const { return load(p, {row, c}, {cols}); }
    /// The sum over all tiles of what `of(values)` gives, f32 or i32.
    template <class Of>
    Tile total(DType dtype, Of of) const {
      const auto [lanes] =
          k.for_range(0, p.extent(1), cols, lang::carry(k.zeros(dtype, {cols})),
                      [&](Tile c, Tile sum) { return lang::carry(sum + of(at(c))); });
      return reshape(reduce_sum(lanes, 0), {});
    }
    Tile count_from(Tile cut) const {
      return total(DType::i32, [&](Tile v) { return cast(v >= cut, DType::i32); });
    }
    Tile sum_from(Tile cut) const {
      return total(DType::f32, [&](Tile v) { return select(v >= cut, v, 0.0); });
    }
    /// The largest cut for which `enough(cut)` holds; it holds for 0 and stays false from where it
    /// is false.
    template <class Enough>
    Tile largest(Enough enough) const {
      const auto [bits] =
          k.for_range(0, 31, 1, lang::carry(k.constant(DType::u32, {}, 0)), [&](Tile i, Tile bits) {
            const Tile candidate =
                bits | (k.constant(DType::u32, {}, 0x40000000) >> cast(i, DType::u32));
            return lang::carry(select(enough(bitcast(candidate, DType::f32)), candidate, bits));
          });
      return bitcast(bits, DType::f32);
    }
  };

  /// What passes: everything above `cut`, and the first `ties` elements equal to it.
  struct Cut {
    Tile cut, ties;  // f32, i32
  };
  static std::array<Tile, 2> all(KernelBuilder& k) {
    return lang::carry(k.constant(DType::f32, {}, 0), k.constant(DType::i32, {}, 0x7fffffff));
  }

  static Cut top_k(const Row& r, Tile count) {
    const auto found = r.k.if_(
        (count > 0) & (cast(count, DType::i64) < r.p.extent(1)),
        [&] {
          const Tile cut = r.largest([&](Tile c) { return r.count_from(c) >= count; });
          const Tile above = r.total(DType::i32, [&](Tile v) { return cast(v > cut, DType::i32); });
          return lang::carry(cut, count - above);
        },
        [&] { return all(r.k); });
    return {found[0], found[1]};
  }

  /// `k`: what top_k() left. Its ties at the cut count as many times as they passed.
  static Cut top_p(const Row& r, const Cut& k, Tile share) {
    const auto found = r.k.if_(
        share < 1.0,
        [&] {
          // Elements above the first cut are summed as they are, ties at it by their number.
          const Tile equal =
              r.total(DType::i32, [&](Tile v) { return cast(v == k.cut, DType::i32); });
          const Tile tied = to_f32(min(equal, k.ties)) * k.cut;
          const auto sum_from = [&](Tile c) {
            const Tile above =
                r.total(DType::f32, [&](Tile v) { return select((v >= c) & (v > k.cut), v, 0.0); });
            return select(c <= k.cut, above + tied, above);
          };
          const Tile wanted = sum_from(k.cut) * max(share, 1e-7);
          const Tile cut = r.largest([&](Tile c) { return sum_from(c) >= wanted; });
          const Tile above =
              r.total(DType::f32, [&](Tile v) { return select((v > cut) & (v > k.cut), v, 0.0); });
          // The first whole number of ties that reaches the sum. A cut of 0 takes all there is.
          const Tile exact = (wanted - above) / max(cut, 1e-37f);
          const Tile whole = cast(clamp(exact, 0.0, 1e9), DType::i32);
          const Tile ties = max(whole + cast(to_f32(whole) < exact, DType::i32), 1);
          return lang::carry(cut, select(cut == k.cut, min(ties, k.ties), ties));
        },
        [&] { return lang::carry(k.cut, k.ties); });
    return {found[0], found[1]};
  }

  static void plan(PlanBuilder& b) {
    const int64_t cols = std::min(b.caps().vector_tile, pow2_ceil(b.dim("V")));
    b.kernel_named(
        "rows", {b.dim("T")}, b.tensors({"p", "top_k", "top_p", "min_p", "y"}),
        [=](KernelBuilder& k, const NamedViews& v) {
          const View& y = v["y"];
          const Row r{k, v["p"], k.program_id(0), cols};
          const auto whole = all(k);
          Cut cut = {whole[0], whole[1]};
          if (v.has("top_k")) cut = top_k(r, load_scalar(v["top_k"], {r.row}));
          if (v.has("top_p")) cut = top_p(r, cut, load_scalar(v["top_p"], {r.row}));
          Tile least = k.constant(DType::f32, {}, 0);
          if (v.has("min_p")) {
            const auto [top] =
                k.for_range(0, y.extent(1), cols, lang::carry(k.zeros(DType::f32, {cols})),
                            [&](Tile c, Tile top) { return lang::carry(max(top, r.at(c))); });
            least = reshape(reduce_max(top, 0), {}) * load_scalar(v["min_p"], {r.row});
          }
          k.for_range(0, y.extent(1), cols, lang::carry(k.constant(DType::i32, {1}, 0)),
                      [&](Tile c, Tile before) {
                        const Tile x = r.at(c);
                        const Tile equal = cast(x == cut.cut, DType::i32);
                        const Tile rank = before + scan_sum(equal, 0);
                        const Tile keep =
                            ((x > cut.cut) | ((x == cut.cut) & (rank <= cut.ties))) & (x >= least);
                        store(y, {r.row, c}, select(keep, x, 0.0));
                        return lang::carry(before + reduce_sum(equal, 0));
                      });
        });
  }

  /// Indices of a row in the order of the operator.
  template <class Source>
  static std::vector<int64_t> order_of(const Source& r, int64_t t, int64_t V) {
    std::vector<int64_t> order(static_cast<size_t>(V));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return r.in("p").at({t, a}) > r.in("p").at({t, b});
    });
    return order;
  }

  /// How many of `order` top-k leaves.
  template <class Source>
  static int64_t after_top_k(const Source& r, const Problem& p, int64_t t) {
    const int64_t V = p.dim("V");
    if (!p.has("top_k")) return V;
    const auto k = static_cast<int64_t>(r.in("top_k").at({t}));
    return k <= 0 ? V : std::min(k, V);
  }

  static void reference(const Reference& r) {
    const int64_t V = r.dim("V");
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const std::vector<int64_t> order = order_of(r, t, V);
      int64_t kept = after_top_k(r, r.problem(), t);
      if (r.has("top_p") && r.in("top_p").at({t}) < 1) {
        double total = 0, sum = 0;
        for (int64_t i = 0; i < kept; ++i) total += r.in("p").at({t, order[i]});
        int64_t length = 0;
        while (length < kept && (length == 0 || sum < r.in("top_p").at({t}) * total))
          sum += r.in("p").at({t, order[length++]});
        kept = length;
      }
      const double least = least_of(r, r.problem(), t, order);
      for (int64_t i = 0; i < V; ++i) {
        const double p = r.in("p").at({t, order[i]});
        r.out("y").set({t, order[i]}, i < kept && p >= least ? p : 0);
      }
    }
  }

  /// The bound of min-p, whose product is that of f32.
  template <class Source>
  static double least_of(const Source& r, const Problem& p, int64_t t,
                         const std::vector<int64_t>& order) {
    if (!p.has("min_p") || order.empty()) return 0;
    return static_cast<float>(r.in("min_p").at({t})) *
           static_cast<float>(r.in("p").at({t, order[0]}));
  }

  /// Kept is a prefix of the order, less what min-p drops; its length is the reference's, or so
  /// near to the sum wanted that the rounding of sums decides.
  static std::string check(const Check& c) {
    const int64_t V = c.problem.dim("V");
    for (int64_t t = 0; t < c.problem.dim("T"); ++t) {
      const std::vector<int64_t> order = order_of(c, t, V);
      const double least = least_of(c, c.problem, t, order);
      const int64_t most = after_top_k(c, c.problem, t);
      double total = 0;
      for (int64_t i = 0; i < most; ++i) total += c.in("p").at({t, order[i]});
      const bool shared = c.problem.has("top_p") && c.in("top_p").at({t}) < 1;
      const double wanted = shared ? c.in("top_p").at({t}) * total : 0;
      double sum = 0;
      bool ended = false;
      for (int64_t i = 0; i < V; ++i) {
        const int64_t v = order[i];
        const double p = c.in("p").at({t, v}), got = c.got("y").at({t, v});
        const bool droppable = p < least || p == 0;
        const bool must = i < most && (!shared || i == 0 || sum < wanted - 1e-5 * total);
        const bool may = i < most && (!shared || i == 0 || sum < wanted + 1e-5 * total);
        if (droppable ? got != 0
                      : (got != p && got != 0) || (got == 0 && must && !ended) ||
                            (got != 0 && (ended || !may)))
          return fmt::format(
              "y[{}, {}] is {} for p = {}, number {} of the order after a sum of {} "
              "of {}; wanted {}",
              t, v, got, p, i, sum, total, wanted);
        if (!droppable && got == 0) ended = true;
        sum += p;
      }
    }
    return {};
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types k = {{"top_k", DType::i32}}, p = {{"top_p", DType::f32}},
                m = {{"min_p", DType::f32}};
    Types all = k;
    all.insert(p.begin(), p.end());
    all.insert(m.begin(), m.end());
    return {
        {{{"T", 1}, {"V", 129280}}, all, {}, false, true, "Flash vocabulary"},
        {{{"T", 9}, {"V", 1000}}, k},
        {{{"T", 9}, {"V", 1000}}, p},
        {{{"T", 9}, {"V", 1000}}, m},
        {{{"T", 17}, {"V", 777}}, all},
        {{{"T", 17}, {"V", 777}}, all, {}, false, true, "ties"},
        {{{"T", 9}, {"V", 300}}, k, {}, false, true, "ties"},
        {{{"T", 9}, {"V", 300}}, p, {}, false, true, "ties"},
        {{{"T", 3}, {"V", 1}}, all},
        {{{"T", 2}, {"V", 50}}, {}, {}, false, true, "no filter"},
        {{{"T", 0}, {"V", 100}}, all},
        bench_case({{"T", 1}, {"V", 129280}}, all),
        bench_case({{"T", 64}, {"V", 129280}}, all),
    };
  }

  static void fill(Inputs& in) {
    HostTensor& p = in.tensor("p");
    const bool ties = in.test_case().note == "ties";
    const int64_t V = p.extent(1);
    for (int64_t t = 0; t < p.extent(0); ++t) {
      double sum = 0;
      std::vector<double> row(static_cast<size_t>(V));
      for (double& v : row) {
        v = ties ? std::ldexp(1.0, static_cast<int>(in.integer(0, 4))) : std::exp(in.normal(3));
        sum += v;
      }
      // Every fourth row holds tokens without any chance.
      for (int64_t v = 0; v < V; ++v) p.set({t, v}, t % 4 == 3 && v % 2 ? 0 : row[v] / sum);
      if (in.problem().has("top_k"))
        in.tensor("top_k").set({t}, t % 5 == 4 ? 0 : static_cast<double>(in.integer(1, 60)));
      if (in.problem().has("top_p"))
        in.tensor("top_p").set({t}, t % 6 == 5 ? 1 : t % 6 == 2 ? 0 : in.uniform(0.2, 0.98));
      if (in.problem().has("min_p"))
        in.tensor("min_p").set({t}, t % 3 == 2 ? 0 : in.uniform(0.001, 0.2));
    }
  }

  /// See check().
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("V"));
    return {.bytes_read = 4 * elements, .bytes_written = 4 * elements, .flops = 64 * elements};
  }
};

}  // namespace tessera::ops
