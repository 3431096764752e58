// SPDX-License-Identifier: Apache-2.0
// Cosines and sines for rope, with YaRN's stretched frequencies where the layer has them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct RopeTable {
  static constexpr int64_t kPairs = 32;

  static Signature signature() {
    return {
        .name = "rope_table",
        .family = "rope",
        .rows = "7",
        .summary = "Rotation angles of positions: cosine and sine of position times frequency.",
        .formula =
            "cos[r, i] = cos(a), sin[r, i] = sin(a), a = f32(f32(p) * freq[i]), i = 0..31, p = "
            "positions[r] (0 "
            "where negative) or, without positions, first + r: "
            "the product "
            "is rounded to f32 (at 1M that moves the angle by 0.03, and the model was trained with "
            "it)\n"
            "freq[i] = theta^(-i/32); with factor above 1 (YaRN): freq[i] * (1 - s) / factor + "
            "freq[i] * s, "
            "s = 1 - clamp((i - low) / (high - low), 0, 1), low and high from beta_fast and "
            "beta_slow over "
            "`original` positions. All in f32. positions [P] i32 below 2^23, cos, sin [P, 32] f32.",
        .source = "model.py:200-230",
        .tensors = {optional(in("positions", "P", {DType::i32})), out("cos", "P,32", {DType::f32}),
                    out("sin", "P,32", {DType::f32})},
        .attributes = {{"theta", 10000},
                       {"first", 0},
                       {"factor", 1},
                       {"original", 65536},
                       {"beta_fast", 32},
                       {"beta_slow", 1}},
        .dynamic_dims = {"P"},
    };
  }

  struct Frequencies {
    double theta, factor, original, beta_fast, beta_slow;
  };
  /// Rounded after every operation, as f32 tensors are.
  static std::array<float, kPairs> frequencies(const Frequencies& f) {
    const auto bound = [&](double turns) {
      return 64 * std::log(f.original / (turns * 2 * std::numbers::pi)) / (2 * std::log(f.theta));
    };
    const double low = std::max(std::floor(bound(f.beta_fast)), 0.0);
    double high = std::min(std::ceil(bound(f.beta_slow)), 63.0);
    if (low == high) high += 0.001;
    std::array<float, kPairs> out;
    for (size_t i = 0; i < out.size(); ++i) {
      const float exponent = static_cast<float>(2 * i) / 64.0f;
      const float plain =
          1.0f / static_cast<float>(std::pow(f.theta, static_cast<double>(exponent)));
      out[i] = plain;
      if (f.factor <= 1) continue;
      const float ramp =
          (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
      const float smooth = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
      const float slow = plain / static_cast<float>(f.factor) * (1.0f - smooth);
      out[i] = slow + plain * smooth;
    }
    return out;
  }

  struct Turned {
    Tile cos, sin;
  };
  /// For f32 angles from 0 to 2^23. The mantissa times 2^64 / 2 pi in 64-bit integers, whose
  /// overflow is the whole turns, gives the nearest quarter turn and the rest, at most pi / 4: no
  /// chip needs more than f32 for those.
  static Turned turned(Tile angle) {
    constexpr int64_t kPerRadian = 0x28be60db9391054a;  // 2^64 / (2 pi)
    const Tile raw = bitcast(angle, DType::i32);
    const Tile exponent = 150 - (raw >> 23);  // angle = mantissa * 2^-exponent
    const Tile mantissa = cast((raw & 0x7fffff) | 0x800000, DType::i64);
    const Tile shift = cast(clamp(exponent, 0, 24), DType::i64);
    const Tile turns = mantissa * (kPerRadian >> shift);
    const Tile nearest = (turns + (int64_t{1} << 61)) >> 62;  // quarter turns
    constexpr double kRadians = 2 * std::numbers::pi * 0x1p-64;
    const Tile is_small = angle < 0.5;  // and loses digits in the shift
    const Tile rest = select(is_small, angle, to_f32(turns - (nearest << 62)) * kRadians);
    const Tile quarter = select(is_small, 0, cast(nearest & 3, DType::i32));
    // Taylor series: the next terms are below 2^-25.
    const Tile square = rest * rest;
    const Tile sine =
        fma(rest * square,
            fma(square, fma(square, fma(square, 1.0 / 362880, -1.0 / 5040), 1.0 / 120), -1.0 / 6),
            rest);
    const Tile cosine =
        fma(square, fma(square, fma(square, fma(square, 1.0 / 40320, -1.0 / 720), 1.0 / 24), -0.5),
            1.0);
    const Tile swapped = (quarter & 1) == 1;
    const Tile c = select(swapped, sine, cosine), s = select(swapped, cosine, sine);
    return {select(((quarter + 1) & 2) == 2, -c, c), select((quarter & 2) == 2, -s, s)};
  }

  static void plan(PlanBuilder& b) {
    const auto freq =
        frequencies({b.attribute("theta"), b.attribute("factor"), b.attribute("original"),
                     b.attribute("beta_fast"), b.attribute("beta_slow")});
    const int64_t rows = std::clamp<int64_t>(b.caps().vector_tile / kPairs, 1, b.m_class("P"));
    const int64_t per_program =
        std::clamp<int64_t>(b.caps().program_grain / kPairs, rows, b.m_class("P"));
    const bool placed = b.has("positions");
    const auto body = [=](KernelBuilder& k, View positions, View cosine, View sine, Tile first) {
      const Tile pair = k.iota({kPairs}, 0);
      const std::span<const float, kPairs> all(freq);
      const Tile f = select(pair < 16, lookup(all.first<16>(), pair), lookup(all.last<16>(), pair));
      for_program(k, 0, per_program, rows, cosine.extent(0), [&](Tile row) {
        const Tile position = placed ? max(reshape(load(positions, {row}, {rows}), {rows, 1}), 0)
                                     : k.iota({rows, 1}, 0) + cast(first + row, DType::i32);
        const Turned angle = turned(to_f32(position) * f);
        store(cosine, {row, 0}, angle.cos);
        store(sine, {row, 0}, angle.sin);
      });
    };
    const std::vector<int64_t> grid = {programs_for(b.dim("P"), per_program)};
    if (placed)
      b.kernel("rows_of", grid, {b.tensor("positions"), b.tensor("cos"), b.tensor("sin")},
               [body](KernelBuilder& k, View p, View c, View s) { body(k, p, c, s, {}); });
    else
      b.kernel("rows", grid, {b.tensor("cos"), b.tensor("sin")},
               {scalar_i64("first", static_cast<int64_t>(b.attribute("first")))},
               [body](KernelBuilder& k, View c, View s, Tile first) { body(k, {}, c, s, first); });
  }

  static void reference(const Reference& r) {
    // The ramp of the paper, from the attributes; YaRN changes pairs 16 to 31 of the Flash
    // configuration.
    const double theta = r.attribute("theta"), factor = r.attribute("factor"),
                 original = r.attribute("original");
    const auto pair_of =
        [&](double turns) {  // the pair that makes `turns` turns over `original` positions
          return 32 * std::log(original / (turns * 6.283185307179586)) / std::log(theta);
        };
    const double low = std::max(std::floor(pair_of(r.attribute("beta_fast"))), 0.0);
    double high = std::min(std::ceil(pair_of(r.attribute("beta_slow"))), 63.0);
    if (high == low) high = low + 0.001;
    for (int64_t i = 0; i < 32; ++i) {
      float freq = 1 / static_cast<float>(std::pow(theta, static_cast<double>(i) / 32));
      if (factor > 1) {
        float s = 1 - std::min(std::max((float(i) - float(low)) / float(high - low), 0.0f), 1.0f);
        const float stretched = freq / float(factor) * (1 - s), kept = freq * s;
        freq = stretched + kept;
      }
      for (int64_t p = 0; p < r.dim("P"); ++p) {
        const double position = r.has("positions") ? std::max(r.in("positions").at({p}), 0.0)
                                                   : r.attribute("first") + static_cast<double>(p);
        const float angle = static_cast<float>(position) * freq;
        r.out("cos").set({p, i}, std::cos(static_cast<double>(angle)));
        r.out("sin").set({p, i}, std::sin(static_cast<double>(angle)));
      }
    }
  }

  static std::vector<Case> cases() {
    const auto yarn = [](double first) {
      return std::map<std::string, double>{{"theta", 160000}, {"factor", 16}, {"first", first}};
    };
    return {
        {{{"P", 1}}},
        {{{"P", 17}}, {}, yarn(0)},
        {{{"P", 300}}, {}, {{"first", 4000}}},
        {{{"P", 130}}, {}, yarn(65500), false, true, "64k"},
        {{{"P", 65}}, {}, yarn(1048500), false, true, "1M: the rounded product matters"},
        {{{"P", 3}}, {}, {{"first", 8388600}}},
        {{{"P", 5}},
         {},
         {{"theta", 500}, {"factor", 4}, {"original", 300}, {"first", 77}},
         false,
         true,
         "other ramp"},
        {{{"P", 0}}},
        {{{"P", 70}}, {{"positions", DType::i32}}, yarn(0), false, true, "positions"},
        {{{"P", 1}}, {{"positions", DType::i32}}, {}, false, true, "positions"},
        bench_case({{"P", 1}}, {{"positions", DType::i32}}, yarn(0)),
        bench_case({{"P", 512}}, {{"positions", DType::i32}}, yarn(0)),
        bench_case({{"P", 65536}}, {}, yarn(0)),
    };
  }

  static void fill(Inputs& in) {
    if (!in.problem().has("positions")) return;
    const int64_t some[] = {1048575, -1, 0, 1, 4093, 8388607};
    HostTensor& positions = in.tensor("positions");
    for (int64_t t = 0; t < positions.numel(); ++t)
      positions.set({t}, static_cast<double>(t < 6 ? some[t] : in.integer(0, 1 << (t % 21))));
  }

  /// cos and sin of arguments within a turn, to 2 ulp of 1; the reduction adds the rounding of pi *
  /// 2^-24.
  static Tolerance tolerance(const Problem&) { return {.absolute = 6e-7}; }

  static Cost cost(const Problem& p) {
    return {.bytes_written = 256.0 * p.dim("P"), .flops = 60.0 * kPairs * p.dim("P")};
  }
};

}  // namespace tessera::ops
