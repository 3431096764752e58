// SPDX-License-Identifier: Apache-2.0
// The shared key and value row of each token, from its projection to the cache in one pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tessera/base/float_formats.h"
#include "tessera/ops/norm/rms_norm.h"
#include "tessera/ops/quant/act_quant_simulate.h"
#include "tessera/ops/rope/rope.h"

namespace tessera::ops {

struct KvNormRopeInsert {
  static Signature signature() {
    return {
        .name = "kv_norm_rope_insert",
        .family = "norm",
        .rows = "4,6,8,11,38,39",
        .summary = "kv norm, rope, FP8 simulation and the write into the cache, one pass.",
        .formula =
            "z = bf16(rms_norm(x[t], w)); z[D-64..] <- bf16(rope(z[D-64..], positions[t])); "
            "z[0..D-65] <- "
            "act_quant_simulate(z[0..D-65]) unless simulate = 0; cache[slots[t], :] <- z, y[t, :] "
            "<- z\n"
            "x [T, D] bf16, w [D], cache [S, D] bf16, slots [T]: a slot outside the cache (-1) is "
            "not "
            "written; slots are distinct. y [T, D] bf16 is optional. Without positions row t has "
            "the angles of "
            "table row t.",
        .source = "model.py:503-530",
        .tensors = {in("x", "T,D", {DType::bf16, DType::f32}),
                    in("w", "D", {DType::bf16, DType::f32}),
                    optional(in("positions", "T", {DType::i32, DType::i64})),
                    in("cos", "P,32", {DType::f32}), in("sin", "P,32", {DType::f32}),
                    in("slots", "T", {DType::i32, DType::i64}),
                    inout("cache", "S,D", {DType::bf16, DType::f32}),
                    optional(out("y", "T,D", {DType::bf16, DType::f32}))},
        .attributes = {{"eps", 1e-6}, {"simulate", 1}},
        .dynamic_dims = {"T", "P", "S"},
    };
  }

  // ---- the rows before they are stored, shared with the operators that store them otherwise ----

  struct Rows {
    RowTiling tiling;
    int64_t start, blocks;  // first dimension with rope; blocks of a tile before it
    double eps;
    DType rounding;  // f32: none
    bool placed;     // positions are given
    int64_t tile() const { return blocks * ActQuantSimulate::kBlock; }
  };
  static Rows rows_of(const PlanBuilder& b, DType rounding) {
    constexpr int64_t kBlock = ActQuantSimulate::kBlock;
    const int64_t width = b.dim("D");
    Rows rows{
        .tiling = row_tiling(b, "T", width),
        .start = width - Rope::kDims,
        .blocks = std::clamp<int64_t>(b.caps().vector_tile / kBlock, 1, pow2_ceil(width) / kBlock),
        .eps = b.attribute("eps"),
        .rounding = rounding,
        .placed = b.has("positions")};
    rows.tiling.rows = 1;
    return rows;
  }
  /// x, w, positions, cos, sin, slots.
  static std::vector<Arg> row_args(const PlanBuilder& b) {
    return {b.tensor("x"),   b.tensor("w"),   Rope::positions_arg(b),
            b.tensor("cos"), b.tensor("sin"), b.tensor("slots")};
  }
  struct RowViews {
    View x, w, positions, cos, sin, slots;
  };
  /// Normed and turned rows: nope(row, slot, column, f32 [tile]) for the first dimensions, then
  /// rope(row, slot, f32 [64]). Rows without a slot are left out unless `all`.
  template <class Nope, class Turned>
  static void for_rows(KernelBuilder& k, const Rows& z, const RowViews& v, bool all, Nope nope,
                       Turned rope) {
    // A tile may reach into the dimensions with rope; they must not count for its amax.
    const View x_nope = v.x.bounded(1, z.start);
    z.tiling.for_rows(k, v.x, [&](Tile row) {
      const Tile slot = cast(load_scalar(v.slots, {row}, -1), DType::i64);
      const auto whole_row = [&] {
        const Tile scale = reshape(RmsNorm::inverse_rms(k, v.x, row, z.tiling, z.eps), {1});
        const Tile angles = Rope::table_row(z.placed, v.positions, row);
        const auto normed = [&](const View& from, Operand column, int64_t count) {
          const Tile y = to_f32(load(from, {row, column}, {count})) * scale *
                         to_f32(load(v.w, {column}, {count}));
          return z.rounding == DType::f32 ? y : round_to(y, z.rounding);
        };
        k.for_range(0, z.start, z.tile(),
                    [&](Tile c) { nope(row, slot, c, normed(x_nope, c, z.tile())); });
        rope(row, slot,
             Rope::rotate(normed(v.x, z.start, Rope::kDims),
                          load(v.cos, {angles, 0}, {Rope::kPairs}),
                          load(v.sin, {angles, 0}, {Rope::kPairs})));
      };
      if (all)
        whole_row();
      else
        k.if_(slot >= 0, whole_row);
    });
  }

  static void plan(PlanBuilder& b) {
    constexpr int64_t kBlock = ActQuantSimulate::kBlock;
    const bool simulate = b.attribute("simulate") != 0, keep = b.has("y");
    const DType to = b.dtype("cache"), kept_dtype = keep ? b.dtype("y") : to;
    const Rows z = rows_of(b, to);
    const auto body = [=](KernelBuilder& k, const RowViews& v, View cache, View y) {
      const View cache_nope = cache.bounded(1, z.start);
      const View y_nope = keep ? y.bounded(1, z.start) : View();
      const auto nope = [&](Tile row, Tile slot, Tile c, Tile x) {
        if (simulate)
          x = reshape(ActQuantSimulate::simulate(reshape(x, {z.blocks, kBlock})), {z.tile()});
        store(cache_nope, {slot, c}, cast(x, to));
        if (keep) store(y_nope, {row, c}, cast(x, kept_dtype));
      };
      const auto rope = [&](Tile row, Tile slot, Tile x) {
        store(cache, {slot, z.start}, cast(x, to));
        if (keep) store(y, {row, z.start}, cast(x, kept_dtype));
      };
      for_rows(k, z, v, keep, nope, rope);
    };
    std::vector<Arg> args = row_args(b);
    args.push_back(b.tensor("cache"));
    const std::vector<int64_t> grid = {z.tiling.programs(b.dim("T"))};
    if (keep) {
      args.push_back(b.tensor("y"));
      b.kernel(
          "rows_kept", grid, args,
          [body](KernelBuilder& k, View x, View w, View positions, View cos, View sin, View slots,
                 View cache, View y) { body(k, {x, w, positions, cos, sin, slots}, cache, y); });
    } else {
      b.kernel(
          "rows", grid, args,
          [body](KernelBuilder& k, View x, View w, View positions, View cos, View sin, View slots,
                 View cache) { body(k, {x, w, positions, cos, sin, slots}, cache, {}); });
    }
  }

  /// Row t normed and turned, nothing simulated, in double; errors scale with `magnitude`.
  struct ReferenceRow {
    std::vector<double> z, magnitude;
  };
  static ReferenceRow reference_row(const Reference& r, int64_t t, bool narrow) {
    const int64_t width = r.dim("D"), start = width - 64;
    const auto rounded = [narrow](double v) {
      return narrow ? double{decode_bf16(encode_bf16(v))} : v;
    };
    std::vector<double> z(static_cast<size_t>(width)), magnitude(z.size());
    double squares = 0;
    for (int64_t d = 0; d < width; ++d) squares += r.in("x").at({t, d}) * r.in("x").at({t, d});
    const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + r.attribute("eps"));
    for (size_t d = 0; d < z.size(); ++d) {
      const auto i = static_cast<int64_t>(d);
      z[d] = rounded(r.in("x").at({t, i}) * scale * r.in("w").at({i}));
      magnitude[d] = std::abs(z[d]);
    }
    const int64_t p = Rope::table_row(r, t);
    for (int64_t i = 0; i < 32; ++i) {
      const auto first = static_cast<size_t>(start + 2 * i);
      const double c = r.in("cos").at({p, i}), s = r.in("sin").at({p, i});
      const double x = z[first], y = z[first + 1];
      z[first] = x * c - y * s;
      z[first + 1] = x * s + y * c;
      magnitude[first] = std::abs(x * c) + std::abs(y * s);
      magnitude[first + 1] = std::abs(x * s) + std::abs(y * c);
    }
    return {std::move(z), std::move(magnitude)};
  }

  /// Exponent of the power-of-two scale of a block.
  static int reference_exponent(std::span<const double> block) {
    double amax = 1e-4;
    for (double value : block) amax = std::max(amax, std::abs(value));
    int exponent = -40;
    while (std::ldexp(448, exponent) < amax) ++exponent;
    return exponent;
  }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D"), start = width - 64;
    const bool narrow = r.problem().dtype("cache") == DType::bf16;
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      auto [z, magnitude] = reference_row(r, t, narrow);
      for (int64_t first = 0; first < start && r.attribute("simulate") != 0; first += 64) {
        const std::span<double> block = std::span(z).subspan(
            static_cast<size_t>(first), static_cast<size_t>(std::min<int64_t>(64, start - first)));
        const int exponent = reference_exponent(block);
        for (double& value : block)
          value = std::ldexp(decode_e4m3(encode_e4m3(std::ldexp(value, -exponent))), exponent);
      }
      const auto slot = static_cast<int64_t>(r.in("slots").at({t}));
      for (int64_t d = 0; d < width; ++d) {
        const auto i = static_cast<size_t>(d);
        if (slot >= 0 && slot < r.dim("S")) r.out("cache").set({slot, d}, z[i], magnitude[i]);
        if (r.has("y")) r.out("y").set({t, d}, z[i], magnitude[i]);
      }
    }
  }

  static std::vector<Case> cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16},
                        {"w", DType::bf16},
                        {"positions", DType::i32},
                        {"slots", DType::i32},
                        {"cache", DType::bf16}};
    Types kept = bf16, f32 = bf16, own = bf16;
    own.erase("positions");
    kept["y"] = DType::bf16;
    kept["positions"] = kept["slots"] = DType::i64;
    for (const char* name : {"x", "w", "cache"}) f32[name] = DType::f32;
    const std::map<std::string, double> plain = {{"simulate", 0}};
    return {
        {{{"T", 1}, {"D", 512}, {"P", 50}, {"S", 128}}, bf16, {}, false, true, "decode"},
        {{{"T", 17}, {"D", 512}, {"P", 50}, {"S", 19}}, kept, {}, false, true, "some slots -1"},
        {{{"T", 128}, {"D", 512}, {"P", 200}, {"S", 128}}, bf16, {}, false, true, "ring"},
        {{{"T", 3}, {"D", 512}, {"P", 50}, {"S", 5}}, kept, plain},
        {{{"T", 5}, {"D", 512}, {"P", 50}, {"S", 9}}, f32, plain},
        {{{"T", 9}, {"D", 128}, {"P", 9}, {"S", 11}}, own, {}, false, true, "some slots -1"},
        {{{"T", 7}, {"D", 192}, {"P", 10}, {"S", 8}},
         bf16,
         {{"eps", 0.3}},
         false,
         true,
         "zero row"},
        {{{"T", 3}, {"D", 100}, {"P", 10}, {"S", 8}}, kept, {}, false, true, "one block of 36"},
        {{{"T", 0}, {"D", 512}, {"P", 10}, {"S", 4}}, bf16},
        bench_case({{"T", 1}, {"D", 512}, {"P", 4096}, {"S", 128}}, bf16),
        bench_case({{"T", 16384}, {"D", 512}, {"P", 16384}, {"S", 16384}}, bf16),
    };
  }

  static void fill(Inputs& in) {
    Rope::fill_rotation(in);
    HostTensor &w = in.tensor("w"), &slots = in.tensor("slots"), &x = in.tensor("x");
    for (int64_t d = 0; d < w.numel(); ++d) w.set({d}, in.uniform(0.5, 1.5));
    std::vector<int64_t> free(static_cast<size_t>(in.problem().dim("S")));
    for (size_t i = 0; i < free.size(); ++i) free[i] = static_cast<int64_t>(i);
    std::shuffle(free.begin(), free.end(), in.random());
    for (int64_t t = 0; t < slots.numel(); ++t) {
      const bool skip = in.test_case().note == "some slots -1" && t % 4 == 2;
      slots.set({t}, skip ? -1 : static_cast<double>(free[static_cast<size_t>(t)]));
    }
    if (in.test_case().note == "zero row")
      for (int64_t d = 0; d < x.extent(1); ++d) x.set({3, d}, 0);
  }

  /// The bf16 norm may round the other way where the f32 sums differ (about 1 in 4000), which then
  /// shows as one step of e4m3, an eighth of the value, or of bf16 before the rotation: a few such
  /// elements are allowed, everything else must agree.
  class RowCheck {
   public:
    RowCheck(std::string_view name, int64_t elements, double half_step)
        : name_(name), may_be_off_(1 + elements / 500), half_step_(half_step) {}
    /// What is wrong with an element, if anything.
    std::string element(int64_t i, double got, double want, double magnitude) {
      constexpr double kStep = 0.126;
      const double size = std::max(std::abs(want), magnitude), error = std::abs(got - want);
      if (error <= half_step_ * std::abs(want) + 1e-5 * size) return {};
      if (error <= kStep * size && ++off_ <= may_be_off_) return {};
      return fmt::format("{}: element {} is {}, expected {} ({} elements off so far)", name_, i,
                         got, want, off_);
    }

   private:
    std::string_view name_;
    int64_t may_be_off_, off_ = 0;
    double half_step_;
  };
  static std::string check(const Check& c) {
    const double half = c.problem.dtype("cache") == DType::bf16 ? 0x1p-8 : 1e-6;
    for (const char* name : {"cache", "y"}) {
      if (!c.problem.has(name)) continue;
      const HostTensor& got = c.got(name);
      const Expected& want = c.want(name);
      RowCheck rows(name, got.numel(), half);
      for (int64_t i = 0; i < got.numel(); ++i) {
        std::string wrong = rows.element(i, got.flat(i), want.value(i), want.magnitude(i));
        if (!wrong.empty()) return wrong;
      }
    }
    return {};
  }
  static Tolerance tolerance(const Problem&) { return {}; }  // see check()

  static Cost cost(const Problem& p) {
    const double elements = static_cast<double>(p.dim("T") * p.dim("D"));
    return {.bytes_read = elements * bits(p.dtype("x")) / 8 + p.dim("T") * 264.0,
            .bytes_written = elements * bits(p.dtype("cache")) / 8 * (p.has("y") ? 2 : 1),
            .flops = 8 * elements};
  }
};

}  // namespace tessera::ops
