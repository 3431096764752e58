// SPDX-License-Identifier: Apache-2.0
// The largest magnitude of each block of a row: what act_quant needs of the other ranks where a
// block of 128 lies on several of them.
#pragma once

#include <algorithm>
#include <cmath>

#include "tessera/ops/quant/act_quant.h"

namespace tessera::ops {

struct BlockAmax {
  static Signature signature() {
    return {
        .name = "block_amax",
        .family = "quant",
        .rows = "10",
        .summary = "largest magnitude of each block of a row",
        .formula =
            "m[t,b] = max |x[t, bB..bB+B-1]| with B = block. x bf16 or f32 [T,K], m f32 "
            "[T,S], S = K / B rounded up. Infinities and NaNs stay.",
        .source = "kernel.py:41-127, the maximum alone",
        .tensors = {in("x", "T,K", {DType::bf16, DType::f32}), out("m", "T,S", {DType::f32})},
        .attributes = {{"block", 128}},
    };
  }

  static void plan(PlanBuilder& b) {
    const auto block = static_cast<int64_t>(b.attribute("block"));
    const int64_t width = b.dim("K");
    const ActQuant::Tiling t = ActQuant::tiling(b, width, block);
    b.kernel(
        "blocks",
        {programs_for(width, t.cols_per_program), programs_for(b.dim("T"), t.rows_per_program)},
        {b.tensor("x"), b.tensor("m")}, [t, block](KernelBuilder& k, View x, View m) {
          ActQuant::for_tiles(k, x, t, t.blocks * block, [&](Tile row, Tile col) {
            const Tile v = to_f32(load(x, {row, col}, {t.blocks * block}));
            const Tile bits = ActQuant::amax_bits(reshape(v, {t.blocks, block}), 0.0f);
            store(m, {row, col / block}, reshape(bitcast(bits, DType::f32), {t.blocks}));
          });
        });
  }

  static void reference(const Reference& r) {
    const auto block = static_cast<int64_t>(r.attribute("block"));
    const int64_t width = r.dim("K");
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t b = 0; b * block < width; ++b) {
        double amax = 0;
        for (int64_t d = b * block; d < std::min(width, (b + 1) * block); ++d)
          amax = std::max(amax, std::abs(r.in("x").at({t, d})));
        r.out("m").set({t, b}, amax);
      }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {{"x", DType::bf16}}, f32 = {{"x", DType::f32}};
    return {
        {{{"T", 1}, {"K", 64}, {"S", 1}}, bf16, {}, false, true, "half a block"},
        {{{"T", 3}, {"K", 16}, {"S", 1}}, bf16},
        {{{"T", 5}, {"K", 300}, {"S", 3}}, f32, {}, false, true, "a last block of 44"},
        {{{"T", 70}, {"K", 256}, {"S", 2}}, bf16},
        {{{"T", 0}, {"K", 64}, {"S", 1}}, bf16},
        bench_case({{"T", 1}, {"K", 64}, {"S", 1}}, bf16),
        bench_case({{"T", 512}, {"K", 64}, {"S", 1}}, bf16),
    };
  }

  /// One of the inputs, as it is.
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const auto elements = static_cast<double>(p.dim("T") * p.dim("K"));
    return {.bytes_read = static_cast<double>(p.tensor("x").bytes()),
            .bytes_written = static_cast<double>(p.tensor("m").bytes()),
            .flops = elements};
  }
};

}  // namespace tessera::ops
