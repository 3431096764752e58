// SPDX-License-Identifier: Apache-2.0
// Indices of the K largest of many scores: bisection over all numbers, bit by bit, finds the K-th
// largest, one more pass writes the indices at or above it. Where few of many scores are wanted,
// groups of scores that cannot hold one are left out first.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct TopK {
  static Signature signature() {
    return {
        .name = "top_k",
        .family = "indexer",
        .rows = "31",
        .summary = "indices of the K largest scores of each row",
        .formula =
            "indices[t,:] = the min(K, n) indices i < n with the largest scores[t,i] (ties: lower "
            "i) in "
            "ascending order, each plus `offset`, then -1. n = C, or min(C, (positions[t] + 1) / "
            "ratio) with "
            "positions. scores [T,C] without NaN, positions i32 [T], indices i32 [T,K].",
        .source =
            "model.py:427 index_score.topk(min(index_topk, end_pos // ratio)), where(idx >= limit, "
            "-1, idx + "
            "offset); the order does not matter to attention, ascending rows of the cache are read "
            "faster",
        .tensors = {in("scores", "T,C", {DType::bf16, DType::f32}),
                    optional(in("positions", "T", {DType::i32})),
                    out("indices", "T,K", {DType::i32})},
        .attributes = {{"ratio", 4}, {"offset", 0}},
        .dynamic_dims = {"T", "C"},
    };
  }

  static constexpr int64_t kTile = 64;    // least number of scores looked at at once
  static constexpr int64_t kGroup = 32;   // scores that share a maximum
  static constexpr int64_t kRun = 16384;  // scores of which one program takes the maxima
  static constexpr double kLowest = -std::numeric_limits<double>::infinity();

  /// What a tile holds: scores in f32, of which those from `end` on, in order, do not count. They
  /// are kLowest.
  struct Elements {
    Tile score, index;
  };

  /// A walk over elements: source(j) for j = 0, step, .. below `end`, `width` elements each.
  template <class Source>
  struct Walk {
    Tile end;
    int64_t step, width;
    Source source;
  };
  template <class Source>
  Walk(Tile, int64_t, int64_t, Source) -> Walk<Source>;

  /// The number whose place among all numbers of `bits` bits (16: bf16) is `key` u32; kLowest for
  /// what lies before it.
  static Tile number_at(Tile key, int bits) {
    const Tile wide = bits == 32 ? key : key << (32 - bits);
    const Tile ones = bits == 32 ? Tile(!wide) : Tile(!wide & 0xffff0000u);
    const Tile pattern = select(wide >= 0x80000000u, wide & 0x7fffffffu, ones);
    return select(wide < 0x007fffffu, kLowest, bitcast(pattern, DType::f32));
  }

  static Tile scalar_of(Tile one) { return reshape(one, {}); }

  /// Elements for which test(score) holds, i32.
  template <class Source, class Test>
  static Tile count(KernelBuilder& k, const Walk<Source>& walk, Test test) {
    const auto [lanes] =
        k.for_range(0, walk.end, walk.step, lang::carry(k.zeros(DType::i32, {walk.width})),
                    [&](Tile j, Tile sum) {
                      return lang::carry(sum + cast(test(walk.source(j).score), DType::i32));
                    });
    return scalar_of(reduce_sum(lanes, 0));
  }

  /// The largest number that at least `wanted` elements reach, found bit by bit of its place.
  template <class Source>
  static Tile reached_by(KernelBuilder& k, int bits, const Walk<Source>& walk, Tile wanted) {
    const auto [key] = k.for_range(
        0, bits, 1, lang::carry(k.constant(DType::u32, {}, 0)), [&](Tile turn, Tile known) {
          const Tile bit = cast(bits - 1 - turn, DType::u32);
          const Tile tried = known | (k.constant(DType::u32, {}, 1) << bit);
          const Tile least = number_at(tried, bits);
          const Tile reaching = count(k, walk, [&](Tile score) { return score >= least; });
          return lang::carry(select(reaching >= wanted, tried, known));
        });
    return number_at(key, bits);
  }

  /// Writes the `wanted` largest of the elements before `end` to out[row, 0 .. capacity) in order,
  /// then -1.
  template <class Source>
  static void select_largest(KernelBuilder& k, int bits, int64_t capacity, const Walk<Source>& walk,
                             Tile end, Tile wanted, const View& out, Tile row, Tile offset) {
    const Tile least = reached_by(k, bits, walk, wanted);
    // All above it, and the first of those equal to it.
    const Tile equals = wanted - count(k, walk, [&](Tile score) { return score > least; });
    const Tile none = k.constant(DType::i32, {}, 0);
    k.for_range(0, walk.end, walk.step, lang::carry(none, none),
                [&](Tile j, Tile above, Tile ties) {
                  const Elements e = walk.source(j);
                  const Tile greater = e.score > least;
                  const Tile equal = (e.score == least) & (e.index < cast(end, DType::i32));
                  // Both are counted at once, those above in the upper half.
                  const Tile ones = (cast(greater, DType::i32) << 16) | cast(equal, DType::i32);
                  const Tile before = scan_sum(ones, 0) - ones;
                  const Tile rank = (before & 0xffff) + ties;
                  const Tile position = (before >> 16) + above + min(rank, equals);
                  const Tile chosen = greater | (equal & (rank < equals));
                  scatter(out, {row, 0}, select(chosen, position, -1), e.index + offset);
                  const Tile all = scalar_of(reduce_sum(ones, 0));
                  return lang::carry(above + (all >> 16), ties + (all & 0xffff));
                });
    k.for_range(0, capacity, walk.width, [&](Tile j) {
      const Tile position = k.iota({walk.width}, 0) + cast(j, DType::i32);
      store_masked(out, {row, j}, -1,
                   (position >= wanted) & (position < static_cast<int>(capacity)));
    });
  }

  /// How rows of at most `count` scores are walked: `width` at once, which may be all of them.
  struct Tiling {
    int64_t width;
    bool one_tile;
    Tiling(const PlanBuilder& b, int64_t count)
        : width(std::clamp<int64_t>(b.caps().vector_tile / 4, kTile, 1024)),
          one_tile(count <= width) {}
  };

  /// The first n scores of a row.
  static auto all_scores(KernelBuilder& k, const View& scores, Tile row, Tile n, Tiling t) {
    const View seen = scores.bounded(1, n);
    const auto from = [=](Operand j) { return to_f32(load(seen, {row, j}, {t.width}, kLowest)); };
    // A row that is one tile is read once for all rounds.
    const Tile whole = t.one_tile ? from(0) : Tile();
    return Walk{n, t.width, t.width, [=, &k](Tile j) {
                  return Elements{t.one_tile ? whole : from(j),
                                  k.iota({t.width}, 0) + cast(j, DType::i32)};
                }};
  }

  static void plan(PlanBuilder& b) {
    const int64_t C = b.dim("C"), K = b.dim("K");
    const auto ratio = static_cast<int64_t>(b.attribute("ratio"));
    const bool masked = b.has("positions");
    const int bits = b.dtype("scores") == DType::bf16 ? 16 : 32;
    const ScalarBinding offset = scalar_i64("offset", static_cast<int64_t>(b.attribute("offset")));
    // Without positions the scores take their place, unread.
    const Arg scores = b.tensor("scores"), positions = b.tensor(masked ? "positions" : "scores");
    auto limit_of = [=](const View& scores, const View& positions, Tile row) {
      if (!masked) return scores.extent(1);
      const Tile seen = (cast(load_scalar(positions, {row}), DType::i64) + 1) / ratio;
      return min(seen, scores.extent(1));
    };
    if (C > 2 * kGroup * K) return plan_groups(b, scores, positions, offset, bits, limit_of);
    const Tiling tiling(b, C);
    b.kernel("select", {b.dim("T")}, {scores, positions, b.tensor("indices")}, {offset},
             [=](KernelBuilder& k, View scores, View positions, View indices, Tile offset) {
               const Tile row = k.program_id(0), n = limit_of(scores, positions, row);
               select_largest(k, bits, K, all_scores(k, scores, row, n, tiling), n,
                              cast(min(n, K), DType::i32), indices, row, cast(offset, DType::i32));
             });
  }

  /// Many scores, of which few are wanted. The K-th largest of the maxima of groups is reached by K
  /// scores at least, so only groups whose maximum reaches it can hold one of the K largest.
  template <class Limit>
  static void plan_groups(PlanBuilder& b, const Arg& scores, const Arg& positions,
                          const ScalarBinding& offset, int bits, Limit limit_of) {
    const int64_t T = b.dim("T"), C = b.dim("C"), K = b.dim("K");
    const int64_t groups = programs_for(C, kGroup);
    const Tiling tiling(b, groups);
    const Arg maxima = b.workspace("maxima", b.dtype("scores"), {T, groups}, {true, true});
    const Arg chosen = b.workspace("chosen", DType::i32, {T, groups}, {true, true});
    const Arg used = b.workspace("used", DType::i32, {T}, {true});
    b.kernel("maxima", {programs_for(C, kRun), T},
             {scores, positions, maxima.with_access(Access::kWrite)},
             [=](KernelBuilder& k, View scores, View positions, View maxima) {
               const Tile lo = k.program_id(0) * kRun, row = k.program_id(1);
               const Tile n = limit_of(scores, positions, row);
               const View seen = scores.bounded(1, n);
               k.for_range(lo, min(lo + kRun, n), kTile, [&](Tile j) {
                 const Tile score = to_f32(load(seen, {row, j}, {kTile}, kLowest));
                 const Tile most = reduce_max(reshape(score, {kTile / kGroup, kGroup}), 1);
                 store(maxima, {row, j / kGroup},
                       cast(reshape(most, {kTile / kGroup}), maxima.dtype()));
               });
             });
    b.kernel(
        "groups", {T},
        {scores, positions, maxima.with_access(Access::kRead), chosen.with_access(Access::kWrite),
         used.with_access(Access::kWrite)},
        [=](KernelBuilder& k, View scores, View positions, View maxima, View chosen, View used) {
          const Tile row = k.program_id(0);
          const Tile n = ceil_div(limit_of(scores, positions, row), kGroup);
          const auto walk = all_scores(k, maxima, row, n, tiling);
          const Tile least = reached_by(k, bits, walk, cast(min(n, K), DType::i32));
          const auto [count] = k.for_range(
              0, n, tiling.width, lang::carry(k.constant(DType::i32, {}, 0)),
              [&](Tile j, Tile written) {
                const Elements e = walk.source(j);
                const Tile reaches = (e.score >= least) & (e.index < cast(n, DType::i32));
                const Tile one = cast(reaches, DType::i32);
                const Tile position = scan_sum(one, 0) - one + written;
                scatter(chosen, {row, 0}, select(reaches, position, -1), e.index);
                return lang::carry(written + scalar_of(reduce_sum(one, 0)));
              });
          store(used, {row}, reshape(count, {1}));
        });
    b.kernel("select", {T},
             {scores, positions, chosen.with_access(Access::kRead), used.with_access(Access::kRead),
              b.tensor("indices")},
             {offset},
             [=](KernelBuilder& k, View scores, View positions, View chosen, View used,
                 View indices, Tile offset) {
               const Tile row = k.program_id(0), n = limit_of(scores, positions, row);
               const View seen = scores.bounded(1, n);
               const auto source = [&](Tile i) {
                 const Tile first = load_scalar(chosen, {row, i}) * static_cast<int>(kGroup);
                 return Elements{
                     to_f32(load(seen, {row, cast(first, DType::i64)}, {kGroup}, kLowest)),
                     k.iota({kGroup}, 0) + first};
               };
               const Tile count = cast(load_scalar(used, {row}), DType::i64);
               select_largest(k, bits, K, Walk{count, 1, kGroup, source}, n,
                              cast(min(n, K), DType::i32), indices, row, cast(offset, DType::i32));
             });
  }

  static void reference(const Reference& r) {
    const int64_t C = r.dim("C"), K = r.dim("K");
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      int64_t n = C;
      if (r.has("positions"))
        n = std::min(C, (static_cast<int64_t>(r.in("positions").at({t})) + 1) /
                            static_cast<int64_t>(r.attribute("ratio")));
      std::vector<int64_t> order(static_cast<size_t>(n));
      for (int64_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
      std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        const double x = r.in("scores").at({t, a}), y = r.in("scores").at({t, b});
        return x != y ? x > y : a < b;
      });
      order.resize(static_cast<size_t>(std::min(n, K)));
      std::sort(order.begin(), order.end());
      for (int64_t j = 0; j < K; ++j)
        r.out("indices").set(
            {t, j}, j < std::ssize(order)
                        ? static_cast<double>(order[static_cast<size_t>(j)]) + r.attribute("offset")
                        : -1);
    }
  }

  static void fill(Inputs& in) {
    const std::string& note = in.test_case().note;
    HostTensor& scores = in.tensor("scores");
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (note == "ties" || note == "groups, ties")
      for (int64_t i = 0; i < scores.numel(); ++i)
        scores.set_flat(i, 0.5 * static_cast<double>(in.integer(-2, 2)));
    if (note == "all equal")
      for (int64_t i = 0; i < scores.numel(); ++i) scores.set_flat(i, i % 2 ? -0.0 : 0.0);
    if (note == "extremes" || note == "groups, extremes") {
      const double special[] = {kInfinity, -kInfinity, 1e-40, -1e-40, 3e38, -3e38, 0.0, 1e-30};
      for (int64_t i = 0; i < scores.numel(); i += 3) scores.set_flat(i, special[i / 3 % 8]);
    }
    if (!in.problem().has("positions")) return;
    HostTensor& positions = in.tensor("positions");
    const auto ratio = static_cast<int64_t>(in.problem().attribute("ratio"));
    const int64_t last = ratio * in.problem().dim("C") - 1;
    for (int64_t t = 0; t < positions.numel(); ++t)
      positions.set({t}, static_cast<double>(t == 0 ? last : t == 1 ? 0 : in.integer(0, last + 8)));
  }

  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (DType dtype : {DType::bf16, DType::f32}) {
      const std::map<std::string, DType> plain = {{"scores", dtype}};
      const std::map<std::string, DType> masked = {{"scores", dtype}, {"positions", DType::i32}};
      list.push_back({.dims = {{"T", 1}, {"C", 700}, {"K", 64}}, .dtypes = plain});
      list.push_back({.dims = {{"T", 3}, {"C", 1000}, {"K", 512}},
                      .dtypes = masked,
                      .attributes = {{"offset", 128}}});
      list.push_back({.dims = {{"T", 9}, {"C", 100}, {"K", 7}},
                      .dtypes = masked,
                      .attributes = {{"ratio", 3}}});
      list.push_back({.dims = {{"T", 2}, {"C", 20}, {"K", 512}}, .dtypes = plain, .note = "K > n"});
      list.push_back(
          {.dims = {{"T", 2}, {"C", 0}, {"K", 8}}, .dtypes = masked, .note = "no score"});
      list.push_back({.dims = {{"T", 0}, {"C", 64}, {"K", 8}}, .dtypes = plain});
      list.push_back({.dims = {{"T", 2}, {"C", 300}, {"K", 1}}, .dtypes = plain});
      list.push_back({.dims = {{"T", 3}, {"C", 600}, {"K", 100}}, .dtypes = plain, .note = "ties"});
      list.push_back(
          {.dims = {{"T", 1}, {"C", 300}, {"K", 33}}, .dtypes = plain, .note = "all equal"});
      list.push_back(
          {.dims = {{"T", 2}, {"C", 300}, {"K", 150}}, .dtypes = plain, .note = "extremes"});
      list.push_back(
          {.dims = {{"T", 2}, {"C", 20000}, {"K", 300}}, .dtypes = masked, .note = "groups"});
      list.push_back({.dims = {{"T", 12}, {"C", 1500}, {"K", 20}},
                      .dtypes = masked,
                      .attributes = {{"ratio", 3}, {"offset", 7}},
                      .note = "groups"});
      list.push_back(
          {.dims = {{"T", 1}, {"C", 8201}, {"K", 20}}, .dtypes = plain, .note = "groups, ties"});
      list.push_back({.dims = {{"T", 2}, {"C", 1029}, {"K", 16}},
                      .dtypes = plain,
                      .note = "groups, extremes"});
      list.push_back({.dims = {{"T", 1}, {"C", 262144}, {"K", 512}},
                      .dtypes = masked,
                      .note = "a context of 1,048,576"});
      for (int64_t C : {512, 2048, 32768, 262144})
        list.push_back(bench_case({{"T", 1}, {"C", C}, {"K", 512}}, plain));
      list.push_back(bench_case({{"T", 512}, {"C", 2048}, {"K", 512}}, masked));
      list.push_back(bench_case({{"T", 64}, {"C", 262144}, {"K", 512}}, masked));
    }
    return list;
  }

  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    return {.bytes_read = static_cast<double>(p.tensor("scores").bytes()),
            .bytes_written = static_cast<double>(p.tensor("indices").bytes())};
  }
};

}  // namespace tessera::ops
