// SPDX-License-Identifier: Apache-2.0
// The residual stream after a sublayer: the sublayer's output spread over the copies, and the
// copies mixed with each other.
#pragma once

#include <array>
#include <cmath>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct HcPostCombine {
  static constexpr int64_t kCopies = 4;

  static Signature signature() {
    return {
        .name = "hc_post_combine",
        .family = "hyper_connection",
        .rows = "47",
        .summary = "New residual copies from a sublayer's output and the old copies.",
        .formula =
            "y[t, k, d] = post[t, k] f[t, d] + sum_j comb[t, j, k] res[t, j, d] in f32, rounded "
            "once: comb "
            "is contracted over its first index\n"
            "f [T, D] bf16, res [T, 4, D] bf16, post [T, 4] and comb [T, 4, 4] f32, y [T, 4, D] "
            "bf16",
        .source = "model.py:684",
        .tensors = {in("f", "T,D", {DType::bf16, DType::f32}),
                    in("res", "T,4,D", {DType::bf16, DType::f32}), in("post", "T,4", {DType::f32}),
                    in("comb", "T,4,4", {DType::f32}),
                    out("y", "T,4,D", {DType::bf16, DType::f32})},
    };
  }

  using Copies = std::array<Tile, kCopies>;
  /// One copy of the stream, f32, from the sublayer's output, the old copies, and its weights of
  /// these.
  static Tile combine(Tile added, const Copies& old, Tile gate, const Copies& mix) {
    Tile sum = added * gate;
    for (size_t j = 0; j < kCopies; ++j) sum = fma(old[j], mix[j], sum);
    return sum;
  }

  static void plan(PlanBuilder& b) {
    plan_rows(b, b.tensor("f"), b.tensor("res"), b.tensor("post"), b.tensor("comb"),
              streamed_if_large(b, "y", "T", kCopies * b.dim("D")));
  }

  /// The kernel to y [T, 4, D].
  static void plan_rows(PlanBuilder& b, const Arg& f, const Arg& res, const Arg& post,
                        const Arg& comb, const Arg& y) {
    const int64_t width = b.dim("D");
    // Five inputs and four outputs are alive at once: half a tile of each.
    RowTiling t = row_tiling(b, "T", width);
    t.rows = 1;
    t.cols = std::max<int64_t>(t.cols / 2, 1);
    // Programs share wide rows: a program's loads are all under way at once.
    const int64_t span = std::max(round_up(b.caps().program_grain / 2, t.cols), t.cols);
    const DType to = y.dtype;
    b.kernel("rows", {programs_for(width, span), t.programs(b.dim("T"))}, {f, res, post, comb, y},
             [t, span, to](KernelBuilder& k, View f, View res, View post, View comb, View y) {
               for_program(k, 1, t.per_program, t.rows, f.extent(0), [&](Tile row) {
                 Copies gate;
                 std::array<Copies, kCopies> mix;  // by the copy they make
                 for (int64_t i = 0; i < kCopies; ++i) {
                   gate[static_cast<size_t>(i)] = load_scalar(post, {row, i});
                   for (int64_t j = 0; j < kCopies; ++j)
                     mix[static_cast<size_t>(j)][static_cast<size_t>(i)] =
                         load_scalar(comb, {row, i, j});
                 }
                 for_program(k, 0, span, t.cols, f.extent(1), [&](Tile c) {
                   const Tile added = to_f32(load(f, {row, c}, {t.cols}));
                   Copies old;
                   for (int64_t j = 0; j < kCopies; ++j)
                     old[static_cast<size_t>(j)] = to_f32(load(res, {row, j, c}, {t.cols}));
                   for (size_t copy = 0; copy < kCopies; ++copy)
                     store(y, {row, static_cast<int64_t>(copy), c},
                           cast(combine(added, old, gate[copy], mix[copy]), to));
                 });
               });
             });
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t k = 0; k < 4; ++k)
        for (int64_t d = 0; d < r.dim("D"); ++d) {
          double sum = r.in("post").at({t, k}) * r.in("f").at({t, d}), magnitude = std::abs(sum);
          for (int64_t j = 0; j < 4; ++j) {
            const double product = r.in("comb").at({t, j, k}) * r.in("res").at({t, j, d});
            sum += product;
            magnitude += std::abs(product);
          }
          r.out("y").set({t, k, d}, sum, magnitude);
        }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"f", DType::bf16}, {"res", DType::bf16}, {"y", DType::bf16}};
    const Types f32 = {{"f", DType::f32}, {"res", DType::f32}, {"y", DType::f32}};
    return {
        {{{"T", 1}, {"D", 4096}}, bf16, {}, false, true, "Flash"},
        {{{"T", 3}, {"D", 7168}}, bf16, {}, false, true, "Pro"},
        {{{"T", 17}, {"D", 512}}, f32},
        {{{"T", 70}, {"D", 50}}, bf16, {}, false, true, "several rows a program"},
        {{{"T", 5}, {"D", 77}}, f32},
        {{{"T", 0}, {"D", 4096}}, bf16},
        bench_case({{"T", 1}, {"D", 4096}}, bf16),
        bench_case({{"T", 64}, {"D", 4096}}, bf16),
        bench_case({{"T", 4096}, {"D", 4096}}, bf16, {}, "288 MB"),
    };
  }

  /// Five products summed in f32.
  static Tolerance tolerance(const Problem&) { return {.scaled = 5e-7}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    const double read = elements * (bits(p.dtype("f")) + kCopies * bits(p.dtype("res"))) / 8;
    return {.bytes_read = read + p.dim("T") * 80.0,
            .bytes_written = kCopies * elements * bits(p.dtype("y")) / 8,
            .flops = 40 * elements};
  }
};

}  // namespace tessera::ops
