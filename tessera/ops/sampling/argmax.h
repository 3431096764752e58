// SPDX-License-Identifier: Apache-2.0
// Index of the largest element of each row, in two steps: parts of the row, then the parts.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct Argmax {
  static constexpr double kNone = -std::numeric_limits<double>::infinity();
  static constexpr int64_t kNoIndex = 0x7fffffff;

  static Signature signature() {
    return {
        .name = "argmax",
        .family = "sampling",
        .rows = "67,70",
        .summary = "Index of the largest element of each row.",
        .formula =
            "index[t] = the lowest v with x[t, v] = max_v x[t, v]; NaN loses to every number, a "
            "row without "
            "any number above -inf gives 0\n"
            "x [T, V] f32 or bf16, index [T] i32 or i64",
        .source = "generate.py (temperature 0)",
        .tensors = {in("x", "T,V", {DType::f32, DType::bf16}),
                    out("index", "T", {DType::i32, DType::i64})},
    };
  }

  struct Best {
    Tile value;  // f32 [1]
    Tile index;  // i32 [1]
  };
  /// The best of columns first, first + cols, .. below `end`: at(column) gives values f32 [cols],
  /// -inf where there is none, and indices i32 [cols].
  template <class At>
  static Best best_of(KernelBuilder& k, Tile first, Operand end, int64_t cols, At at) {
    const Tile lanes = k.iota({cols}, 0);
    const auto [value, index] =
        k.for_range(first, end, cols,
                    lang::carry(k.constant(DType::f32, {cols}, kNone),
                                k.constant(DType::i32, {cols}, kNoIndex)),
                    [&](Tile c, Tile value, Tile index) {
                      const auto [v, i] = at(c, lanes);
                      // The first tile sets the index even where all is -inf.
                      const Tile better = (v > value) | ((index == kNoIndex) & (v == value));
                      return lang::carry(select(better, v, value), select(better, i, index));
                    });
    const Tile top = reduce_max(value, 0);
    return {top, reduce_min(select(value == top, index, kNoIndex), 0)};
  }

  /// A part without any number has found a fill behind the row, if anything.
  static Tile index_in(const Best& best, Tile extent) {
    return select(cast(best.index, DType::i64) < extent, best.index, kNoIndex);
  }

  struct Parts {
    Arg values, indices;  // [T, parts]
    int64_t rows = 0, cols = 1, elements = 1, count = 1;
  };
  /// Parts of `rows` rows of V elements.
  static Parts parts_of(PlanBuilder& b, int64_t rows) {
    const int64_t width = b.dim("V");
    Parts p;
    p.rows = rows;
    p.cols = std::min(b.caps().vector_tile, pow2_ceil(width));
    p.elements = std::max(round_up(b.caps().program_grain, p.cols), p.cols);
    p.count = std::max<int64_t>(programs_for(width, p.elements), 1);
    p.values = b.workspace("values", DType::f32, {rows, p.count}, {true, false});
    p.indices = b.workspace("indices", DType::i32, {rows, p.count}, {true, false});
    return p;
  }
  /// The kernel that writes the best of each row's parts to `index`.
  static void plan_choice(PlanBuilder& b, const Parts& p, const Arg& index) {
    const int64_t cols = std::min(b.caps().vector_tile, pow2_ceil(p.count));
    const DType to = index.dtype;
    b.kernel("choose", {p.rows},
             {p.values.with_access(Access::kRead), p.indices.with_access(Access::kRead), index},
             [cols, to](KernelBuilder& k, View values, View indices, View index) {
               const Tile row = k.program_id(0);
               const Best best = best_of(k, k.index(0), values.extent(1), cols, [&](Tile c, Tile) {
                 return std::pair(load(values, {row, c}, {cols}, kNone),
                                  load(indices, {row, c}, {cols}, kNoIndex));
               });
               // Nothing but NaN: the first.
               store(index, {row}, cast(select(best.index == kNoIndex, 0, best.index), to));
             });
  }

  static void plan(PlanBuilder& b) {
    const Parts p = parts_of(b, b.dim("T"));
    b.kernel("parts", {p.count, b.dim("T")},
             {b.tensor("x"), p.values.with_access(Access::kWrite),
              p.indices.with_access(Access::kWrite)},
             [cols = p.cols, elements = p.elements](KernelBuilder& k, View x, View values,
                                                    View indices) {
               const Tile part = k.program_id(0), row = k.program_id(1), first = part * elements;
               const Tile end = min(first + elements, x.extent(1));
               const Best best = best_of(k, first, end, cols, [&](Tile c, Tile lanes) {
                 return std::pair(to_f32(load(x, {row, c}, {cols}, kNone)),
                                  lanes + cast(c, DType::i32));
               });
               store(values, {row, part}, best.value);
               store(indices, {row, part}, index_in(best, x.extent(1)));
             });
    plan_choice(b, p, b.tensor("index"));
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      int64_t best = -1;
      for (int64_t v = 0; v < r.dim("V"); ++v) {
        const double x = r.in("x").at({t, v});
        if (!std::isnan(x) && (best < 0 || x > r.in("x").at({t, best}))) best = v;
      }
      r.out("index").set({t}, static_cast<double>(std::max<int64_t>(best, 0)));
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types f32 = {{"x", DType::f32}, {"index", DType::i64}},
                bf16 = {{"x", DType::bf16}, {"index", DType::i32}};
    return {
        {{{"T", 1}, {"V", 129280}}, f32, {}, false, true, "Flash vocabulary"},
        {{{"T", 3}, {"V", 10000}}, bf16, {}, false, true, "many ties"},
        {{{"T", 17}, {"V", 4097}}, f32, {}, false, true, "last element"},
        {{{"T", 70}, {"V", 5}}, f32},
        {{{"T", 4}, {"V", 9000}}, f32, {}, false, true, "all equal"},
        {{{"T", 6}, {"V", 5000}}, f32, {}, false, true, "nan and infinities"},
        {{{"T", 2}, {"V", 1}}, bf16},
        {{{"T", 0}, {"V", 1000}}, f32},
        bench_case({{"T", 1}, {"V", 129280}}, f32),
        bench_case({{"T", 64}, {"V", 129280}}, f32),
    };
  }

  static void fill(Inputs& in) {
    if (!in.test_case().test) return;
    HostTensor& x = in.tensor("x");
    const std::string& note = in.test_case().note;
    const int64_t width = x.extent(1);
    for (int64_t t = 0; t < x.extent(0); ++t) {
      if (note == "last element") x.set({t, width - 1 - t % 2}, 100);
      for (int64_t v = 0; v < width; ++v) {
        if (note == "all equal") x.set({t, v}, t == 0 ? -INFINITY : static_cast<double>(t) - 2);
        if (note == "nan and infinities") {
          const double rare[] = {NAN, -INFINITY, INFINITY, NAN, -1, -2};
          if (v % 3 == 0) x.set({t, v}, rare[t]);
          if (t == 3 && v < 4500) x.set({t, v}, NAN);
        }
      }
      if (note == "nan and infinities" && t == 5)
        for (int64_t v = 0; v < width; ++v) x.set({t, v}, NAN);
    }
  }

  /// An index is right or wrong.
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("V"));
    return {.bytes_read = elements * bits(p.dtype("x")) / 8,
            .bytes_written = 8.0 * p.dim("T"),
            .flops = elements};
  }
};

}  // namespace tessera::ops
