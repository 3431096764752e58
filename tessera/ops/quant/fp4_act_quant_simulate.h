// SPDX-License-Identifier: Apache-2.0
// What FP4 storage does to the queries and keys of the indexer, applied in place.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tessera/ops/quant/act_quant.h"

namespace tessera::ops {

struct Fp4ActQuantSimulate {
  static constexpr int64_t kBlock = 32;

  static Signature signature() {
    return {
        .name = "fp4_act_quant_simulate",
        .family = "quant",
        .rows = "12",
        .summary = "Quantise to e2m1 in blocks of 32 and back, in place.",
        .formula =
            "for each block X of 32 of x[t, :]: s = 2^ceil(log2(max(max |X|, 6 * 2^-126) / 6)), "
            "X <- bf16(float(e2m1(X / s)) * s)\n"
            "e2m1 rounds to nearest even in {0, .5, 1, 1.5, 2, 3, 4, 6}: .25 -> 0, .75 -> 1, 1.25 "
            "-> 1, "
            "1.75 -> 2, 2.5 -> 2, 3.5 -> 4, 5 -> 4. x [T, D] bf16, T any rows (tokens x heads).",
        .source = "kernel.py:129-203",
        .tensors = {inout("x", "T,D", {DType::bf16, DType::f32})},
    };
  }

  /// Blocks [.., 32] f32 as FP4 storage returns them; 6 = 1.5 x 2^2.
  static Tile simulate(Tile x) {
    const Tile exponent = ((ActQuant::amax_bits(x, 6 * 0x1p-126f) + 0x3fffff) >> 23) - 2;
    return round_to(x * ActQuant::inverse_scale(exponent), DType::f4e2m1) *
           ActQuant::scale_of(exponent);
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D");
    const ActQuant::Tiling t = ActQuant::tiling(b, width, kBlock);
    const DType dtype = b.dtype("x");
    const int64_t tile = t.blocks * kBlock;
    b.kernel(
        "blocks",
        {programs_for(width, t.cols_per_program), programs_for(b.dim("T"), t.rows_per_program)},
        {b.tensor("x")}, [t, tile, dtype](KernelBuilder& k, View x) {
          ActQuant::for_tiles(k, x, t, tile, [&](Tile row, Tile col) {
            const Tile v = reshape(to_f32(load(x, {row, col}, {tile})), {t.blocks, kBlock});
            store(x, {row, col}, cast(reshape(simulate(v), {tile}), dtype));
          });
        });
  }

  static void reference(const Reference& r) {
    const double codes[] = {0, .5, 1, 1.5, 2, 3, 4, 6};
    const double limits[] = {.25, .75, 1.25, 1.75, 2.5, 3.5, 5};  // half way to the next code
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t first = 0; first < r.dim("D"); first += 32) {
        const int64_t end = std::min(r.dim("D"), first + 32);
        double amax = 6 * 0x1p-126;
        for (int64_t d = first; d < end; ++d) amax = std::max(amax, std::abs(r.in("x").at({t, d})));
        int exponent = -126;
        while (std::ldexp(6, exponent) < amax) ++exponent;
        for (int64_t d = first; d < end; ++d) {
          const double x = std::ldexp(r.in("x").at({t, d}), -exponent);
          int code = 0;
          // A tie goes to the even code: up from an odd one, down from an even one.
          while (code < 7 &&
                 (std::abs(x) > limits[code] || (std::abs(x) == limits[code] && code % 2 == 1)))
            ++code;
          r.out("x").set({t, d}, std::copysign(std::ldexp(codes[code], exponent), x));
        }
      }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {{"x", DType::bf16}}, f32 = {{"x", DType::f32}};
    return {
        {{{"T", 64}, {"D", 128}}, bf16, {}, false, true, "Flash indexer q, one token"},
        {{{"T", 1}, {"D", 128}}, bf16, {}, false, true, "indexer k"},
        {{{"T", 17}, {"D", 128}}, bf16},
        {{{"T", 100}, {"D", 32}}, f32},
        {{{"T", 3}, {"D", 4500}}, bf16, {}, false, true, "a last block of 20"},
        {{{"T", 5}, {"D", 192}}, bf16, {}, false, true, "zero blocks"},
        {{{"T", 33}, {"D", 128}}, bf16, {}, false, true, "ties"},
        {{{"T", 0}, {"D", 128}}, bf16},
        bench_case({{"T", 64}, {"D", 128}}, bf16),
        bench_case({{"T", 131072}, {"D", 128}}, bf16, {}, "2048 tokens of 64 heads"),
    };
  }

  /// Every tie and every neighbour of a tie, with both signs, at scales from the smallest to the
  /// largest.
  static void fill_ties(Inputs& in, HostTensor& x, int64_t t, int64_t first, int64_t count) {
    const double ties[] = {.25, .75, 1.25, 1.75, 2.5, 3.5, 5, 0, 1, 6};
    const int exponents[] = {0, -3, 9, -124, 124, -20, 60, -126};
    const int exponent = exponents[(t + first) % 8];
    for (int64_t d = 0; d < count; ++d) {
      const double tie = ties[(d + t) % 10] * (1 + 0x1p-7 * static_cast<double>(in.integer(-1, 1)));
      const double value = d == 1 ? 6 : std::min(tie, 6.0);
      x.set({t, first + d}, std::ldexp(in.integer(0, 1) ? value : -value, exponent));
    }
  }

  static void fill(Inputs& in) {
    if (in.test_case().test) ActQuant::fill_blocks(in, kBlock, "ties", fill_ties);
  }

  /// e2m1 times a power of two is exact in bf16.
  static std::string check(const Check& c) { return ActQuant::equal(c, {"x"}); }
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    const double bytes = elements * bits(p.dtype("x")) / 8;
    return {.bytes_read = bytes, .bytes_written = bytes, .flops = 4 * elements};
  }
};

}  // namespace tessera::ops
