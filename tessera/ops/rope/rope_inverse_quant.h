// SPDX-License-Identifier: Apache-2.0
// The attention output made ready for an FP8 output projection, in one pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tessera/base/float_formats.h"
#include "tessera/ops/quant/act_quant.h"
#include "tessera/ops/rope/rope.h"

namespace tessera::ops {

struct RopeInverseQuant {
  static constexpr int64_t kBlock = 128;

  static Signature signature() {
    return {
        .name = "rope_inverse_quant",
        .family = "rope",
        .rows = "9,10,43",
        .summary = "Inverse rope and quantisation in blocks of 128 of the attention output.",
        .formula =
            "y, s = act_quant(bf16(rope_inverse(x[t, h, :]))) with blocks of 128\n"
            "x [T, H, D] bf16, D a multiple of 128, cos and sin [P, 32] f32, positions [T] (left "
            "out: row t of "
            "the tables), y [T, H, D] e4m3, s [T, H, D/128] e8m0",
        .source = "model.py:534 and kernel.py:41-127, fused for serving",
        .tensors = {in("x", "T,H,D", {DType::bf16}),
                    optional(in("positions", "T", {DType::i32, DType::i64})),
                    in("cos", "P,32", {DType::f32}), in("sin", "P,32", {DType::f32}),
                    out("y", "T,H,D", {DType::f8e4m3}), out("s", "T,H,D/128", {DType::f8e8m0})},
        .dynamic_dims = {"T", "P"},
    };
  }

  static void plan(PlanBuilder& b) {
    const int64_t width = b.dim("D"), all = pow2_ceil(b.dim("H"));
    const int64_t heads = std::clamp<int64_t>(b.caps().vector_tile / kBlock, 1, all);
    const int64_t per_program =
        std::clamp<int64_t>(b.caps().program_grain / width / heads * heads, heads, all);
    const bool placed = b.has("positions");
    b.kernel("heads", {programs_for(b.dim("H"), per_program), b.dim("T")},
             {b.tensor("x"), Rope::positions_arg(b), b.tensor("cos"), b.tensor("sin"),
              b.tensor("y"), b.tensor("s")},
             [=](KernelBuilder& k, View x, View positions, View cos, View sin, View y, View s) {
               const Tile t = k.program_id(1), row = Rope::table_row(placed, positions, t);
               const Tile c = load(cos, {row, 0}, {1, Rope::kPairs}),
                          z = load(sin, {row, 0}, {1, Rope::kPairs});
               for_program(k, 0, per_program, heads, x.extent(1), [&](Tile head) {
                 const auto keep = [&](Tile v, Operand column, Operand block) {
                   const ActQuant::Blocks q = ActQuant::quantise(v);
                   store(y, {t, head, column}, q.codes);
                   store(s, {t, head, block}, ActQuant::stored_scale(q.exponent, DType::f8e8m0));
                 };
                 k.for_range(0, width - kBlock, kBlock, [&](Tile column) {
                   keep(to_f32(load(x, {t, head, column}, {heads, kBlock})), column,
                        column / kBlock);
                 });
                 const TileShape half = {heads, Rope::kDims};
                 const Tile kept = to_f32(load(x, {t, head, width - kBlock}, half));
                 const Tile turned = Rope::rotate(
                     to_f32(load(x, {t, head, width - Rope::kDims}, half)), c, z, /*inverse=*/true);
                 keep(lang::concat(kept, round_to(turned, DType::bf16), 1), width - kBlock,
                      width / kBlock - 1);
               });
             });
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D");
    std::vector<double> v(static_cast<size_t>(width));
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const int64_t p = Rope::table_row(r, t);
      for (int64_t h = 0; h < r.dim("H"); ++h) {
        for (int64_t d = 0; d < width; ++d) v[static_cast<size_t>(d)] = r.in("x").at({t, h, d});
        for (int64_t i = 0; i < 32; ++i) {
          double &a = v[static_cast<size_t>(width - 64 + 2 * i)],
                 &b = v[static_cast<size_t>(width - 63 + 2 * i)];
          const double c = r.in("cos").at({p, i}), s = r.in("sin").at({p, i}), x = a, y = b;
          a = decode_bf16(encode_bf16(x * c + y * s));
          b = decode_bf16(encode_bf16(y * c - x * s));
        }
        for (int64_t first = 0; first < width; first += kBlock) {
          double amax = 1e-4;
          for (int64_t d = first; d < first + kBlock; ++d)
            amax = std::max(amax, std::abs(v[static_cast<size_t>(d)]));
          int exponent = -40;
          while (std::ldexp(448, exponent) < amax) ++exponent;
          r.out("s").set({t, h, first / kBlock}, std::ldexp(1.0, exponent));
          for (int64_t d = first; d < first + kBlock; ++d)
            r.out("y").set({t, h, d}, std::ldexp(v[static_cast<size_t>(d)], -exponent));
        }
      }
    }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> placed = {{"positions", DType::i32}};
    return {
        {{{"T", 1}, {"H", 64}, {"D", 512}, {"P", 1}}, {}, {}, false, true, "Flash"},
        {{{"T", 5}, {"H", 7}, {"D", 512}, {"P", 30}}, placed},
        {{{"T", 9}, {"H", 3}, {"D", 128}, {"P", 9}}, {}, {}, false, true, "one block"},
        {{{"T", 3}, {"H", 2}, {"D", 256}, {"P", 9}}, placed, {}, false, true, "zero head"},
        {{{"T", 0}, {"H", 64}, {"D", 512}, {"P", 1}}},
        bench_case({{"T", 1}, {"H", 64}, {"D", 512}, {"P", 1}}),
        bench_case({{"T", 512}, {"H", 64}, {"D", 512}, {"P", 512}}),
    };
  }

  static void fill(Inputs& in) {
    Rope::fill_rotation(in);
    HostTensor& x = in.tensor("x");
    for (int64_t t = 0; in.test_case().test && t < x.extent(0); ++t)
      for (int64_t h = 0; h < x.extent(1); ++h) {
        const bool zero = in.test_case().note == "zero head" && h == 1;
        const double scale = std::exp2(in.uniform(-8, 8));
        for (int64_t d = 0; d < x.extent(2); ++d) x.set({t, h, d}, zero ? 0 : in.normal(scale));
      }
  }

  /// A rotated value that rounds to its other bf16 neighbour may move a code by a step.
  static Tolerance tolerance(const Problem&) { return {.one_step_share = 0.001}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("H") * p.dim("D"));
    return {.bytes_read = 2 * elements,
            .bytes_written = elements * (1 + 1.0 / kBlock),
            .flops = 3 * elements};
  }
};

}  // namespace tessera::ops
