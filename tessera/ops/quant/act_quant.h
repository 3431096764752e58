// SPDX-License-Identifier: Apache-2.0
// Activations to FP8 with one power-of-two scale a block, as every FP8 and FP4 product of the model
// wants them. The scale comes from exponent and mantissa bits: 448 = 1.75 x 2^8.
#pragma once

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tessera/base/float_formats.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct ActQuant {
  static constexpr float kLeastAmax = 1e-4f;  // a block of zeros has the scale of this
  static constexpr int32_t kInfinityBits = 0x7f800000;
  using Types = std::map<std::string, DType>;

  static Signature signature() {
    return {
        .name = "act_quant",
        .family = "quant",
        .rows = "10",
        .summary = "bf16 to e4m3 with one power-of-two scale for each block of a row.",
        .formula =
            "with B = block and X = x[t, bB..bB+B-1]: s[t, b] = 2^ceil(log2(max(max |X|, 1e-4) / "
            "448)), "
            "y = e4m3(clamp(X / s[t, b], -448, 448)), rounded to nearest even\n"
            "x [T, K] bf16, y [T, K] e4m3, s [T, S] e8m0 (or f32 with the same values), S = K / B "
            "rounded up. A block with an infinity or a NaN has the scale NaN (f32: infinity). amax "
            "f32 [T, S], where given, takes the place of max |X|: that of a block whose other "
            "elements are elsewhere.",
        .source = "kernel.py:41-127",
        .tensors = {in("x", "T,K", {DType::bf16, DType::f32}), out("y", "T,K", {DType::f8e4m3}),
                    out("s", "T,S", {DType::f8e8m0, DType::f32}),
                    optional(in("amax", "T,S", {DType::f32}))},
        .attributes = {{"block", 128}},
    };
  }

  // ---- building blocks, shared by the operators that quantise ----

  /// max |x| over the last axis as the bits of an f32 (i32 [.., 1]), at least those of `least`: the
  /// order of integers is that of magnitudes, with infinity and NaN above all numbers.
  static Tile amax_bits(Tile x, float least) {
    const Tile magnitude = bitcast(x, DType::i32) & 0x7fffffff;
    return max(reduce_max(magnitude, x.rank() - 1), std::bit_cast<int32_t>(least));
  }
  /// Biased exponent (i32) of 2^ceil(log2(amax / 448)); infinity and NaN have that of the largest
  /// number.
  static Tile scale_exponent(Tile amax_bits) {
    // Carries into the exponent where the mantissa is above that of 1.75.
    return ((min(amax_bits, kInfinityBits) + 0x1fffff) >> 23) - 8;
  }
  static Tile scale_of(Tile exponent) { return bitcast(exponent << 23, DType::f32); }
  static Tile inverse_scale(Tile exponent) { return bitcast((254 - exponent) << 23, DType::f32); }
  /// The scale as it is stored.
  static Tile stored_scale(Tile exponent, DType dtype) {
    if (dtype == DType::f32) return scale_of(exponent);
    return bitcast(cast(exponent, DType::u8), DType::f8e8m0);
  }
  struct Blocks {
    Tile codes;     // e4m3 [.., block]
    Tile exponent;  // i32 [.., 1]; 255 for blocks with an infinity or a NaN
  };
  /// x [.., block] f32. The cast saturates at 448, and no element is beyond it anyway.
  static Blocks quantise(Tile x) { return quantise(x, amax_bits(x, kLeastAmax)); }
  static Blocks quantise(Tile x, Tile amax_bits) {
    const Tile exponent = scale_exponent(amax_bits);
    return {cast(x * inverse_scale(exponent), DType::f8e4m3),
            select(amax_bits >= kInfinityBits, 255, exponent)};
  }

  /// Rows of whole blocks: a program takes some rows and some columns.
  struct Tiling {
    int64_t blocks;  // of a tile, which has one row
    int64_t cols_per_program, rows_per_program;
  };
  static Tiling tiling(const PlanBuilder& b, int64_t width, int64_t block) {
    const int64_t grain = b.caps().program_grain;
    Tiling t;
    t.blocks =
        std::max<int64_t>(1, std::min(b.caps().vector_tile / block, pow2_ceil(width) / block));
    const int64_t tile = t.blocks * block;
    t.cols_per_program = width > grain ? round_up(grain, tile) : round_up(pow2_ceil(width), tile);
    t.rows_per_program = std::clamp<int64_t>(grain / t.cols_per_program, 1, b.m_class("T"));
    return t;
  }
  /// body(row, column) for every tile of the program; programs count columns first.
  template <class Body>
  static void for_tiles(KernelBuilder& k, const View& x, const Tiling& t, int64_t tile, Body body) {
    for_program(k, 1, t.rows_per_program, 1, x.extent(0), [&](Tile row) {
      for_program(k, 0, t.cols_per_program, tile, x.extent(1), [&](Tile col) { body(row, col); });
    });
  }

  static void plan(PlanBuilder& b) {
    const auto block = static_cast<int64_t>(b.attribute("block"));
    const int64_t width = b.dim("K");
    const Tiling t = tiling(b, width, block);
    const DType scales = b.dtype("s");
    std::vector<Arg> args = {b.tensor("x"), streamed_if_large(b, "y", "T", width), b.tensor("s")};
    if (b.has("amax")) args.push_back(b.tensor("amax"));
    b.kernel_named(
        "blocks",
        {programs_for(width, t.cols_per_program), programs_for(b.dim("T"), t.rows_per_program)},
        args, [t, block, scales](KernelBuilder& k, const NamedViews& v) {
          for_tiles(k, v["x"], t, t.blocks * block, [&](Tile row, Tile col) {
            const Tile x =
                reshape(to_f32(load(v["x"], {row, col}, {t.blocks * block})), {t.blocks, block});
            const Blocks q = v.has("amax") ? quantise(x, given_amax(v["amax"], row, col / block, t))
                                           : quantise(x);
            store(v["y"], {row, col}, reshape(q.codes, {t.blocks * block}));
            store(v["s"], {row, col / block},
                  reshape(stored_scale(q.exponent, scales), {t.blocks}));
          });
        });
  }

  /// As amax_bits() of the blocks from `first` on.
  static Tile given_amax(const View& amax, Tile row, Tile first, const Tiling& t) {
    const Tile bits = bitcast(load(amax, {row, first}, {t.blocks}), DType::i32);
    return max(reshape(bits, {t.blocks, 1}), std::bit_cast<int32_t>(kLeastAmax));
  }

  static void reference(const Reference& r) {
    const auto block = static_cast<int64_t>(r.attribute("block"));
    const int64_t width = r.dim("K");
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t b = 0; b * block < width; ++b) {
        const int64_t end = std::min(width, (b + 1) * block);
        double amax = 1e-4;
        bool finite = true;
        for (int64_t d = b * block; d < end; ++d) {
          if (!r.has("amax")) amax = std::max(amax, std::abs(r.in("x").at({t, d})));
          finite = finite && std::isfinite(r.in("x").at({t, d}));
        }
        if (r.has("amax")) amax = std::max(amax, r.in("amax").at({t, b}));
        if (!finite) {
          for (int64_t d = b * block; d < end; ++d) r.out("y").set_any({t, d});
          const bool as_f32 = r.problem().dtype("s") == DType::f32;
          r.out("s").set({t, b}, as_f32 ? INFINITY : NAN);
          continue;
        }
        int exponent = -40;
        while (std::ldexp(448, exponent) < amax) ++exponent;
        for (int64_t d = b * block; d < end; ++d)
          r.out("y").set({t, d},
                         decode_e4m3(encode_e4m3(std::ldexp(r.in("x").at({t, d}), -exponent))));
        r.out("s").set({t, b}, std::ldexp(1.0, exponent));
      }
  }

  static std::vector<Case> cases() {
    const Types bf16 = {{"x", DType::bf16}, {"s", DType::f8e8m0}};
    const Types f32_scale = {{"x", DType::bf16}, {"s", DType::f32}};
    const Types f32 = {{"x", DType::f32}, {"s", DType::f8e8m0}};
    const Types part = {{"x", DType::bf16}, {"s", DType::f8e8m0}, {"amax", DType::f32}};
    const std::map<std::string, double> b64 = {{"block", 64}};
    return {
        {{{"T", 1}, {"K", 4096}, {"S", 32}}, bf16, {}, false, true, "Flash hidden"},
        {{{"T", 3}, {"K", 7168}, {"S", 56}}, bf16, {}, false, true, "Pro hidden"},
        {{{"T", 17}, {"K", 1024}, {"S", 8}}, bf16, {}, false, true, "q_lora"},
        {{{"T", 5}, {"K", 8192}, {"S", 64}}, f32_scale, {}, false, true, "wo_b input"},
        {{{"T", 9}, {"K", 2048}, {"S", 16}}, f32},
        {{{"T", 7}, {"K", 448}, {"S", 7}}, bf16, b64, false, true, "kv"},
        {{{"T", 70}, {"K", 128}, {"S", 1}}, bf16, {}, false, true, "one block a row"},
        {{{"T", 3}, {"K", 300}, {"S", 3}}, bf16, {}, false, true, "a last block of 44"},
        {{{"T", 5}, {"K", 64}, {"S", 1}}, part, {}, false, true, "half a block"},
        {{{"T", 3}, {"K", 300}, {"S", 3}}, part, {}, false, true, "blocks of several ranks"},
        {{{"T", 6}, {"K", 512}, {"S", 4}}, bf16, {}, false, true, "zero blocks"},
        {{{"T", 48}, {"K", 256}, {"S", 2}}, bf16, {}, false, true, "edges"},
        {{{"T", 48}, {"K", 256}, {"S", 2}}, f32, {}, false, true, "edges"},
        {{{"T", 5}, {"K", 384}, {"S", 3}}, bf16, {}, false, true, "infinite"},
        {{{"T", 5}, {"K", 384}, {"S", 3}}, f32_scale, {}, false, true, "infinite"},
        {{{"T", 0}, {"K", 4096}, {"S", 32}}, bf16},
        bench_case({{"T", 1}, {"K", 4096}, {"S", 32}}, bf16),
        bench_case({{"T", 64}, {"K", 4096}, {"S", 32}}, bf16),
        bench_case({{"T", 4096}, {"K", 4096}, {"S", 32}}, bf16),
        bench_case({{"T", 16384}, {"K", 4096}, {"S", 32}}, bf16),
        bench_case({{"T", 32768}, {"K", 4096}, {"S", 32}}, bf16, {}, "384 MB"),
    };
  }

  /// Blocks whose amax is a power of two, 1.75 times one, or just beside these, from the smallest
  /// to the largest bf16, the rest of the block on ties of e4m3: all that can go wrong with
  /// exponent bits.
  static void fill_edges(Inputs& in, HostTensor& x, int64_t t, int64_t first, int64_t count) {
    const double mantissas[] = {1, 1.7421875, 1.75, 1.7578125, 1.9921875, 1.75 + 0x1p-23};
    const int exponents[] = {127, 8, 0, -7, -14, -22, -126, -133};
    const double amax = std::ldexp(mantissas[(t / 8 + first / count) % 6], exponents[t % 8]);
    for (int64_t d = 0; d < count; ++d) {
      // 4 bits and a half of mantissa: half of the codes are ties.
      const double tie = std::ldexp(static_cast<double>(in.integer(-31, 31)), -5);
      x.set({t, first + d}, d == count / 3 ? amax : amax * tie);
    }
  }

  /// Blocks of `block` columns of very different sizes; some zero in a case of that note; in a case
  /// noted `special` those that `fill_special` makes.
  static void fill_blocks(Inputs& in, int64_t block, std::string_view special,
                          void (*fill_special)(Inputs&, HostTensor&, int64_t t, int64_t first,
                                               int64_t count)) {
    HostTensor& x = in.tensor("x");
    const std::string& note = in.test_case().note;
    for (int64_t t = 0; t < x.extent(0); ++t)
      for (int64_t first = 0; first < x.extent(1); first += block) {
        const int64_t count = std::min(block, x.extent(1) - first);
        const double scale = std::exp2(in.uniform(-12, 12));
        const bool zero = note == "zero blocks" && (t + first / block) % 2 == 0;
        if (note == special)
          fill_special(in, x, t, first, count);
        else
          for (int64_t d = 0; d < count; ++d) x.set({t, first + d}, zero ? 0 : in.normal(scale));
      }
  }

  static void fill(Inputs& in) {
    if (!in.test_case().test) return;
    const auto block = static_cast<int64_t>(in.problem().attribute("block"));
    fill_blocks(in, block, "edges", fill_edges);
    HostTensor& x = in.tensor("x");
    if (in.test_case().note == "infinite")
      for (int64_t t = 1; t < x.extent(0); t += 2) x.set({t, block + 5}, t == 1 ? INFINITY : NAN);
    if (!in.problem().has("amax")) return;
    for (int64_t t = 0; t < x.extent(0); ++t)
      for (int64_t first = 0; first < x.extent(1); first += block) {
        double amax = 0;
        for (int64_t d = first; d < std::min(first + block, x.extent(1)); ++d)
          amax = std::max(amax, std::abs(x.at({t, d})));
        in.tensor("amax").set({t, first / block}, amax * std::exp2(in.uniform(0, 3)));
      }
  }

  /// Codes and scales are compared bit for bit.
  static std::string check(const Check& c) { return equal(c, {"y", "s"}); }
  static std::string equal(const Check& c, std::vector<std::string> names) {
    for (const std::string& name : names) {
      const Expected& want = c.want(name);
      const HostTensor& got = c.got(name);
      for (int64_t i = 0; i < got.numel(); ++i) {
        const double a = got.flat(i), b = want.value(i);
        if (want.is_any(i) || a == b || (std::isnan(a) && std::isnan(b))) continue;
        return fmt::format("{}: element {} is {}, expected {}", name, i, a, b);
      }
    }
    return {};
  }

  /// Exact, see check().
  static Tolerance tolerance(const Problem&) { return {}; }

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("K"));
    return {.bytes_read = elements * bits(p.dtype("x")) / 8,
            .bytes_written = elements + p.dim("T") * p.dim("S") * bits(p.dtype("s")) / 8.0,
            .flops = 3 * elements};
  }
};

}  // namespace tessera::ops
