// SPDX-License-Identifier: Apache-2.0
// What FP8 storage does to keys and values, applied in place: the native model computes with these
// numbers whether its cache is stored as bf16 or as FP8.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tessera/ops/quant/act_quant.h"

namespace tessera::ops {

struct ActQuantSimulate {
  static constexpr int64_t kBlock = 64;

  static Signature signature() {
    return {
        .name = "act_quant_simulate",
        .family = "quant",
        .rows = "11",
        .summary =
            "Quantise to e4m3 in blocks of 64 and back, in place, on the first columns of each "
            "row.",
        .formula =
            "for each block X of 64 among x[t, 0..columns-1]: s = 2^ceil(log2(max(max |X|, 1e-4) / "
            "448)), "
            "X <- bf16(float(e4m3(X / s)) * s)\n"
            "x [T, D] bf16; columns is 448 for D = 512, the other 64 keep their rope in bf16. "
            "Rounded to "
            "e4m3, as the later official code does (April's kernel did not round).",
        .source = "kernel.py:41 (inplace), model.py:506",
        .tensors = {inout("x", "T,D", {DType::bf16, DType::f32})},
        .attributes = {{"columns", 448}},
    };
  }

  /// Blocks [.., 64] f32 as FP8 storage returns them; exact in bf16.
  static Tile simulate(Tile x) {
    const ActQuant::Blocks q = ActQuant::quantise(x);
    return to_f32(q.codes) * ActQuant::scale_of(q.exponent);
  }

  static void plan(PlanBuilder& b) {
    const int64_t columns = std::min(static_cast<int64_t>(b.attribute("columns")), b.dim("D"));
    const ActQuant::Tiling t = ActQuant::tiling(b, columns, kBlock);
    const DType dtype = b.dtype("x");
    const int64_t tile = t.blocks * kBlock;
    b.kernel(
        "blocks",
        {programs_for(columns, t.cols_per_program), programs_for(b.dim("T"), t.rows_per_program)},
        {b.tensor("x")}, [t, tile, columns, dtype](KernelBuilder& k, View whole) {
          const View x = whole.bounded(1, columns);
          for_program(k, 1, t.rows_per_program, 1, x.extent(0), [&](Tile row) {
            for_program(k, 0, t.cols_per_program, tile, columns, [&](Tile col) {
              const Tile v = reshape(to_f32(load(x, {row, col}, {tile})), {t.blocks, kBlock});
              store(x, {row, col}, cast(reshape(simulate(v), {tile}), dtype));
            });
          });
        });
  }

  static void reference(const Reference& r) {
    const auto columns = std::min(static_cast<int64_t>(r.attribute("columns")), r.dim("D"));
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t first = 0; first < columns; first += 64) {
        const int64_t end = std::min(columns, first + 64);
        double amax = 1e-4;
        for (int64_t d = first; d < end; ++d) amax = std::max(amax, std::abs(r.in("x").at({t, d})));
        int exponent = -40;
        while (std::ldexp(448, exponent) < amax) ++exponent;
        for (int64_t d = first; d < end; ++d) {
          const double code = decode_e4m3(encode_e4m3(std::ldexp(r.in("x").at({t, d}), -exponent)));
          // The largest blocks overflow: 255 * 2^120 becomes 256 * 2^120.
          r.out("x").set({t, d}, static_cast<float>(std::ldexp(code, exponent)));
        }
      }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {{"x", DType::bf16}}, f32 = {{"x", DType::f32}};
    return {
        {{{"T", 1}, {"D", 512}}, bf16, {}, false, true, "kv"},
        {{{"T", 17}, {"D", 512}}, bf16},
        {{{"T", 70}, {"D", 512}}, f32},
        {{{"T", 3}, {"D", 100}}, bf16, {}, false, true, "a last block of 36"},
        {{{"T", 5}, {"D", 192}}, bf16, {{"columns", 100}}, false, true, "zero blocks"},
        {{{"T", 24}, {"D", 512}}, bf16, {}, false, true, "edges"},
        {{{"T", 0}, {"D", 512}}, bf16},
        bench_case({{"T", 1}, {"D", 512}}, bf16),
        bench_case({{"T", 32768}, {"D", 512}}, bf16),
    };
  }

  static void fill(Inputs& in) {
    if (in.test_case().test) ActQuant::fill_blocks(in, kBlock, "edges", ActQuant::fill_edges);
  }

  /// e4m3 times a power of two is exact in bf16.
  static std::string check(const Check& c) { return ActQuant::equal(c, {"x"}); }
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double columns = std::min(p.attribute("columns"), static_cast<double>(p.dim("D")));
    const double bytes = p.dim("T") * columns * bits(p.dtype("x")) / 8;
    return {.bytes_read = bytes, .bytes_written = bytes, .flops = 4 * p.dim("T") * columns};
  }
};

}  // namespace tessera::ops
