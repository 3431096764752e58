// SPDX-License-Identifier: Apache-2.0
// The activation of an expert, quantised for its last product in the same pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tessera/ops/activation/swiglu_clamp.h"
#include "tessera/ops/quant/act_quant.h"

namespace tessera::ops {

struct SwigluClampQuant {
  static constexpr int64_t kBlock = 128;

  static Signature signature() {
    return {
        .name = "swiglu_clamp_quant",
        .family = "activation",
        .rows = "10,58,59",
        .summary =
            "Clamped SwiGLU rounded to bf16, then e4m3 with a power-of-two scale for each 128 "
            "elements.",
        .formula =
            "z = bf16(swiglu_clamp(gate, up, weight)); (q, s) = act_quant(z)\n"
            "gate, up [T, N] bf16, weight [T] f32 (left out: 1), q [T, N] e4m3, s [T, N/128] e8m0",
        .source = "model.py:601-606, kernel.py:41-127",
        .tensors = {in("gate", "T,N", {DType::bf16}), in("up", "T,N", {DType::bf16}),
                    out("q", "T,N", {DType::f8e4m3}), out("s", "T,N/128", {DType::f8e8m0}),
                    optional(in("weight", "T", {DType::f32}))},
        .attributes = {{"limit", 10}},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("N");
    const ActQuant::Tiling t = ActQuant::tiling(b, width, kBlock);
    const int64_t tile = t.blocks * kBlock;
    const double limit = b.attribute("limit");
    const bool weighted = b.has("weight");
    const SwigluClamp::Silu silu = SwigluClamp::silu_of(b);
    const auto body = [=](KernelBuilder& k, View gate, View up, View q, View s, View weight) {
      ActQuant::for_tiles(k, gate, t, tile, [&](Tile row, Tile col) {
        Tile v = SwigluClamp::activate(to_f32(load(gate, {row, col}, {tile})),
                                       to_f32(load(up, {row, col}, {tile})), limit, silu);
        if (weighted) v = v * load_scalar(weight, {row});
        const auto quantised =
            ActQuant::quantise(reshape(round_to(v, DType::bf16), {t.blocks, kBlock}));
        store(q, {row, col}, reshape(quantised.codes, {tile}));
        store(s, {row, col / kBlock},
              reshape(ActQuant::stored_scale(quantised.exponent, DType::f8e8m0), {t.blocks}));
      });
    };
    const std::vector<int64_t> grid = {programs_for(width, t.cols_per_program),
                                       programs_for(b.dim("T"), t.rows_per_program)};
    const Arg gate = b.tensor("gate"), up = b.tensor("up"),
              q = streamed_if_large(b, "q", "T", width), s = b.tensor("s");
    if (weighted)
      b.kernel("blocks_weighted", grid, {gate, up, q, s, b.tensor("weight")}, body);
    else
      b.kernel("blocks", grid, {gate, up, q, s},
               [body](KernelBuilder& k, View gate, View up, View q, View s) {
                 body(k, gate, up, q, s, {});
               });
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("N");
    std::vector<double> z(static_cast<size_t>(width));
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      for (int64_t n = 0; n < width; ++n) {
        const double w = r.has("weight") ? r.in("weight").at({t}) : 1;
        const double exact = SwigluClamp::expected(r.in("gate").at({t, n}), r.in("up").at({t, n}),
                                                   w, r.attribute("limit"));
        z[static_cast<size_t>(n)] = decode_bf16(encode_bf16(exact));
      }
      for (int64_t first = 0; first < width; first += 128) {
        const auto end = static_cast<size_t>(std::min(width, first + 128));
        double amax = 1e-4;
        for (auto n = static_cast<size_t>(first); n < end; ++n)
          amax = std::max(amax, std::abs(z[n]));
        int exponent = -40;
        while (std::ldexp(448, exponent) < amax) ++exponent;
        r.out("s").set({t, first / 128}, std::ldexp(1.0, exponent));
        for (auto n = static_cast<size_t>(first); n < end; ++n)
          r.out("q").set({t, static_cast<int64_t>(n)},
                         decode_e4m3(encode_e4m3(std::ldexp(z[n], -exponent))));
      }
    }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> plain = {}, weighted = {{"weight", DType::f32}};
    return {
        {{{"T", 1}, {"N", 2048}}, weighted, {}, false, true, "Flash expert"},
        {{{"T", 6}, {"N", 3072}}, weighted, {}, false, true, "Pro expert"},
        {{{"T", 17}, {"N", 2048}}, plain, {}, false, true, "shared expert"},
        {{{"T", 3}, {"N", 4480}}, weighted},
        {{{"T", 70}, {"N", 128}}, weighted, {}, false, true, "several rows a program"},
        {{{"T", 3}, {"N", 300}}, plain, {}, false, true, "a last block of 44"},
        {{{"T", 0}, {"N", 2048}}, weighted},
        bench_case({{"T", 1}, {"N", 2048}}, weighted),
        bench_case({{"T", 384}, {"N", 2048}}, weighted),
        bench_case({{"T", 32768}, {"N", 2048}}, weighted, {}, "320 MB"),
    };
  }

  static void fill(Inputs& in) { SwigluClamp::fill_sides(in); }

  /// As rms_norm_quant: the bf16 value may round the other way, and a few codes with it.
  static Tolerance tolerance(const Problem&) { return {.relative = 1e-5, .one_step_share = 1e-3}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("N"));
    return {.bytes_read = 4 * elements + (p.has("weight") ? 4.0 * p.dim("T") : 0),
            .bytes_written = elements * 129 / 128,
            .flops = 25 * elements};
  }
};

}  // namespace tessera::ops
