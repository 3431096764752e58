// SPDX-License-Identifier: Apache-2.0
// Indices of the K largest of many scores, by radix selection: histograms of 8 bits of an
// order-preserving integer key find the K-th largest key, one more pass writes the indices at or
// above it.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "tessera/ops/frame/operator.h"

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

  static constexpr int64_t kTile = 256;    // scores looked at at once
  static constexpr int64_t kChunk = 8192;  // scores a program takes where few rows are split
  static constexpr int kDigit = 8, kBins = 1 << kDigit;

  /// What a tile of scores says: `key` u32 orders as the scores do; only `valid` elements count.
  struct Elements {
    Tile key, valid, index;
  };

  /// f32 to u32 of the same order; -0 equals 0.
  static Tile ordered_key(Tile score, int key_bits) {
    const Tile bits = bitcast(select(score == 0.0, 0.0, score), DType::u32);
    const Tile key = select(bits >= 0x80000000u, !bits, bits | 0x80000000u);
    return key_bits == 32 ? key : key >> (32 - key_bits);
  }

  static Tile scalar_of(Tile one) { return reshape(one, {}); }

  /// Writes the `wanted` largest of `count` elements to out[at .. at + K) in order, then -1.
  template <class Source>
  static void select_largest(KernelBuilder& k, int key_bits, int64_t capacity, Source source,
                             Tile count, Tile wanted, const View& out, Tile row, Tile at,
                             Tile offset) {
    // The largest key that at least `wanted` elements reach, eight bits at a time.
    Tile prefix = k.constant(DType::u32, {}, 0), remaining = wanted;
    for (int shift = key_bits - kDigit; shift >= 0; shift -= kDigit) {
      const auto counts = k.for_range(
          0, count, kTile, lang::carry(k.zeros(DType::i32, {kBins})), [&](Tile j, Tile sum) {
            const Elements e = source(j);
            const Tile digit = cast((e.key >> shift) & (kBins - 1), DType::i32);
            // The bits above the digit; for the first one there are none.
            const Tile same = shift + kDigit == key_bits
                                  ? e.valid
                                  : e.valid & ((e.key >> (shift + kDigit)) == prefix);
            return lang::carry(sum + histogram_masked(digit, same, kBins));
          });
      const Tile histogram = counts[0], bin = k.iota({kBins}, 0);
      const Tile reaching = reduce_sum(histogram, 0) - scan_sum(histogram, 0) + histogram;
      const Tile digit = reduce_sum(cast(reaching >= remaining, DType::i32), 0) - 1;
      const Tile above = reduce_sum(select(bin > digit, histogram, 0), 0);
      remaining = remaining - scalar_of(above);
      prefix = (prefix << kDigit) | cast(scalar_of(digit), DType::u32);
    }
    // All above it, and the first `remaining` equal to it.
    const Tile none = k.constant(DType::i32, {}, 0);
    k.for_range(0, count, kTile, lang::carry(none, none), [&](Tile j, Tile written, Tile ties) {
      const Elements e = source(j);
      const Tile equal = e.valid & (e.key == prefix), tie = cast(equal, DType::i32);
      const Tile rank = scan_sum(tie, 0) - tie + ties;
      const Tile chosen = (e.valid & (e.key > prefix)) | (equal & (rank < remaining));
      const Tile one = cast(chosen, DType::i32);
      const Tile position = scan_sum(one, 0) - one + written;
      scatter(out, {row, at}, select(chosen, position, -1), e.index + offset);
      return lang::carry(written + scalar_of(reduce_sum(one, 0)),
                         ties + scalar_of(reduce_sum(tie, 0)));
    });
    k.for_range(0, capacity, kTile, [&](Tile j) {
      const Tile position = k.iota({kTile}, 0) + cast(j, DType::i32);
      store_masked(out, {row, at + j}, -1,
                   (position >= wanted) & (position < static_cast<int>(capacity)));
    });
  }

  /// Scores [lo, lo + count) of a row.
  static auto range_of(KernelBuilder& k, int key_bits, const View& scores, Tile row, Tile lo,
                       Tile count) {
    return [=, &k](Tile j) {
      const Tile index = k.iota({kTile}, 0) + cast(lo + j, DType::i32);
      const Tile score = cast(load(scores, {row, lo + j}, {kTile}), DType::f32);
      return Elements{ordered_key(score, key_bits), index < cast(lo + count, DType::i32), index};
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t C = b.dim("C"), K = b.dim("K");
    const int64_t chunks = (C + kChunk - 1) / kChunk;
    const auto ratio = static_cast<int64_t>(b.attribute("ratio"));
    const bool masked = b.has("positions");
    const int key_bits = b.dtype("scores") == DType::bf16 ? 16 : 32;
    const ScalarBinding offset = scalar_i64("offset", static_cast<int64_t>(b.attribute("offset")));
    // Without positions the scores take their place, unread.
    const Arg scores = b.tensor("scores"), positions = b.tensor(masked ? "positions" : "scores");
    auto limit_of = [=](const View& scores, const View& positions, Tile row) {
      if (!masked) return scores.extent(1);
      const Tile seen = (cast(load_scalar(positions, {row}), DType::i64) + 1) / ratio;
      return min(seen, scores.extent(1));
    };
    const bool split = chunks > 1 && b.m_class("T") <= 8;
    if (!split) {
      b.kernel("select", {b.dim("T")}, {scores, positions, b.tensor("indices")}, {offset},
               [=](KernelBuilder& k, View scores, View positions, View indices, Tile offset) {
                 const Tile row = k.program_id(0), zero = k.index(0),
                            n = limit_of(scores, positions, row);
                 select_largest(k, key_bits, K, range_of(k, key_bits, scores, row, zero, n), n,
                                cast(min(n, K), DType::i32), indices, row, zero,
                                cast(offset, DType::i32));
               });
      return;
    }
    // The K largest of each chunk, then of those. Chunks and candidates are in order, so ties stay
    // right.
    const Arg candidates =
        b.workspace("candidates", DType::i32, {b.dim("T"), chunks * K}, {true, true});
    b.kernel("chunks", {chunks, b.dim("T")},
             {scores, positions, candidates.with_access(Access::kWrite)},
             [=](KernelBuilder& k, View scores, View positions, View candidates) {
               const Tile chunk = k.program_id(0), row = k.program_id(1), lo = chunk * kChunk;
               const Tile n = clamp(limit_of(scores, positions, row) - lo, 0, kChunk);
               select_largest(k, key_bits, K, range_of(k, key_bits, scores, row, lo, n), n,
                              cast(min(n, K), DType::i32), candidates, row, chunk * K,
                              k.constant(DType::i32, {}, 0));
             });
    b.kernel("merge", {b.dim("T")},
             {scores, positions, candidates.with_access(Access::kRead), b.tensor("indices")},
             {offset},
             [=](KernelBuilder& k, View scores, View positions, View candidates, View indices,
                 Tile offset) {
               const Tile row = k.program_id(0), n = limit_of(scores, positions, row);
               auto source = [&](Tile j) {
                 const Tile index = load(candidates, {row, j}, {kTile}, -1);
                 const Tile score = cast(gather(scores, {row, 0}, index, 0), DType::f32);
                 return Elements{ordered_key(score, key_bits), index >= 0, index};
               };
               select_largest(k, key_bits, K, source, ceil_div(n, kChunk) * K,
                              cast(min(n, K), DType::i32), indices, row, k.index(0),
                              cast(offset, DType::i32));
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
    if (note == "ties" || note == "two chunks, ties")
      for (int64_t i = 0; i < scores.numel(); ++i)
        scores.set_flat(i, 0.5 * static_cast<double>(in.integer(-2, 2)));
    if (note == "all equal")
      for (int64_t i = 0; i < scores.numel(); ++i) scores.set_flat(i, i % 2 ? -0.0 : 0.0);
    if (note == "extremes") {
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
      list.push_back({.dims = {{"T", 2}, {"C", kChunk + 500}, {"K", 300}},
                      .dtypes = masked,
                      .note = "two chunks"});
      list.push_back({.dims = {{"T", 1}, {"C", kChunk + 9}, {"K", 20}},
                      .dtypes = plain,
                      .note = "two chunks, ties"});
      for (int64_t C : {512, 2048, 32768, 262144})
        list.push_back(bench_case({{"T", 1}, {"C", C}, {"K", 512}}, plain));
      list.push_back(bench_case({{"T", 512}, {"C", 2048}, {"K", 512}}, masked));
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
