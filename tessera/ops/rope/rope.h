// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding on the last 64 dimensions, interleaved pairs.
#pragma once

#include <cmath>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct Rope {
  static constexpr int64_t kDims = 64, kPairs = kDims / 2;

  static Signature signature() {
    return {
        .name = "rope",
        .family = "rope",
        .rows = "8",
        .summary = "Rotary embedding of the last 64 dimensions of each head, in place or into y.",
        .formula =
            "with c = cos[pos[t], i], s = sin[pos[t], i], i = 0..31, and (a, b) the elements "
            "D-64+2i "
            "and D-64+2i+1 of x[t, h, :]:\n"
            "(a, b) <- (a c - b s, a s + b c) in f32, rounded once\n"
            "x [T, H, D] bf16, positions [T], cos and sin [P, 32] f32. With y, x stays as it is "
            "and y "
            "gets all D dimensions. A position outside the table gives zeros in the 64 dimensions. "
            "Without positions row t has the angles of table row t.",
        .source = "model.py:232",
        .tensors = {inout("x", "T,H,D", {DType::bf16, DType::f32}),
                    optional(in("positions", "T", {DType::i32, DType::i64})),
                    in("cos", "P,32", {DType::f32}), in("sin", "P,32", {DType::f32}),
                    optional(out("y", "T,H,D", {DType::bf16, DType::f32}))},
        .dynamic_dims = {"T", "P"},
    };
  }

  /// x [.., 64] f32 turned by the angles whose cosines and sines are [.., 32].
  static Tile rotate(Tile x, Tile cos, Tile sin, bool inverse = false) {
    const auto [a, b] = lang::split(x);
    if (inverse) return lang::join(a * cos + b * sin, b * cos - a * sin);
    return lang::join(a * cos - b * sin, a * sin + b * cos);
  }

  // ---- positions, which may be left out: then token t has row t of the tables ----

  /// The argument; another one takes its place, unread.
  static Arg positions_arg(const PlanBuilder& b) {
    return b.tensor(b.has("positions") ? "positions" : "cos");
  }
  /// The table row of one token.
  static Tile table_row(bool has_positions, const View& positions, Tile token) {
    return has_positions ? load_scalar(positions, {token}, -1) : token;
  }
  static int64_t table_row(const Reference& r, int64_t token) {
    return r.has("positions") ? static_cast<int64_t>(r.in("positions").at({token})) : token;
  }

  struct Tiling {
    int64_t tokens, heads;                          // of a tile
    int64_t tokens_per_program, heads_per_program;  // multiples of these
  };
  static Tiling tiling(const PlanBuilder& b) {
    const int64_t tile = b.caps().vector_tile, all_heads = pow2_ceil(b.dim("H")),
                  rows = b.m_class("T");
    Tiling t;
    t.heads = std::clamp<int64_t>(tile / kDims, 1, all_heads);
    t.tokens = std::clamp<int64_t>(tile / (kDims * t.heads), 1, rows);
    const int64_t wanted = std::max<int64_t>(b.caps().program_grain / kDims, 1);
    t.heads_per_program = std::clamp(pow2_ceil(wanted), t.heads, all_heads);
    t.tokens_per_program = std::clamp(pow2_ceil(wanted) / t.heads_per_program, t.tokens, rows);
    return t;
  }

  /// The kernel of this operator and of its inverse.
  static void plan_rotation(PlanBuilder& b, bool inverse) {
    const Tiling t = tiling(b);
    const int64_t start = b.dim("D") - kDims;
    const bool in_place = !b.has("y"), placed = b.has("positions");
    const DType to = in_place ? b.dtype("x") : b.dtype("y");
    const int64_t copy_tile = std::min(2 * b.caps().vector_tile, pow2_ceil(start));
    const auto body = [=](KernelBuilder& k, View x, View positions, View cos, View sin, View y) {
      for_program(k, 1, t.tokens_per_program, t.tokens, x.extent(0), [&](Tile token) {
        const auto angles = [&](const View& table) {
          if (!placed)
            return reshape(load(table, {token, 0}, {t.tokens, kPairs}), {t.tokens, 1, kPairs});
          if (t.tokens == 1)
            return reshape(load(table, {table_row(true, positions, token), 0}, {kPairs}),
                           {1, 1, kPairs});
          const Tile rows = load(positions, {token}, {t.tokens}, -1);
          return reshape(gather(table, {0, 0}, rows, kPairs), {t.tokens, 1, kPairs});
        };
        const Tile c = angles(cos), s = angles(sin);
        for_program(k, 0, t.heads_per_program, t.heads, x.extent(1), [&](Tile head) {
          const Tile v = to_f32(load(x, {token, head, start}, {t.tokens, t.heads, kDims}));
          store(y, {token, head, start}, cast(rotate(v, c, s, inverse), to));
          if (in_place || start == 0) return;
          const View rest = x.bounded(2, start), into = y.bounded(2, start);
          k.for_range(0, start, copy_tile, [&](Tile d) {
            const Tile kept = load(rest, {token, head, d}, {t.tokens, t.heads, copy_tile});
            store(into, {token, head, d}, cast(kept, to));
          });
        });
      });
    };
    const std::vector<int64_t> grid = {programs_for(b.dim("H"), t.heads_per_program),
                                       programs_for(b.dim("T"), t.tokens_per_program)};
    const Arg x = b.tensor("x"), positions = positions_arg(b), cos = b.tensor("cos"),
              sin = b.tensor("sin");
    if (in_place)
      b.kernel(
          "in_place", grid, {x, positions, cos, sin},
          [body](KernelBuilder& k, View x, View p, View c, View s) { body(k, x, p, c, s, x); });
    else
      b.kernel("copy", grid,
               {x.with_access(Access::kRead), positions, cos, sin,
                streamed_if_large(b, "y", "T", b.dim("H") * b.dim("D"))},
               body);
  }

  static void plan(PlanBuilder& b) { plan_rotation(b, /*inverse=*/false); }

  static void reference(const Reference& r) {
    const int64_t width = r.dim("D"), table = r.dim("P");
    for (int64_t t = 0; t < r.dim("T"); ++t)
      for (int64_t h = 0; h < r.dim("H"); ++h) {
        const auto set = [&](int64_t d, double value, double magnitude) {
          r.out(r.has("y") ? "y" : "x").set({t, h, d}, value, magnitude);
        };
        if (r.has("y"))
          for (int64_t d = 0; d < width - 64; ++d) set(d, r.in("x").at({t, h, d}), 0);
        const int64_t p = table_row(r, t);
        for (int64_t i = 0; i < 32; ++i) {
          const int64_t d = width - 64 + 2 * i;
          const double a = r.in("x").at({t, h, d}), b = r.in("x").at({t, h, d + 1});
          const double c = p >= 0 && p < table ? r.in("cos").at({p, i}) : 0;
          const double s = p >= 0 && p < table ? r.in("sin").at({p, i}) : 0;
          set(d, a * c - b * s, std::abs(a * c) + std::abs(b * s));
          set(d + 1, a * s + b * c, std::abs(a * s) + std::abs(b * c));
        }
      }
  }

  static std::vector<Case> rotation_cases() {
    using Types = std::map<std::string, DType>;
    const Types bf16 = {{"x", DType::bf16}, {"positions", DType::i32}};
    const Types i64 = {{"x", DType::bf16}, {"positions", DType::i64}};
    const Types copied = {{"x", DType::bf16}, {"positions", DType::i32}, {"y", DType::bf16}};
    const Types f32 = {{"x", DType::f32}, {"positions", DType::i32}};
    const Types own = {{"x", DType::bf16}}, own_copied = {{"x", DType::f32}, {"y", DType::f32}};
    return {
        {{{"T", 1}, {"H", 64}, {"D", 512}, {"P", 100}}, bf16, {}, false, true, "Flash q"},
        {{{"T", 3}, {"H", 1}, {"D", 512}, {"P", 100}}, i64, {}, false, true, "kv"},
        {{{"T", 17}, {"H", 64}, {"D", 128}, {"P", 50}}, i64, {}, false, true, "indexer q"},
        {{{"T", 70}, {"H", 1}, {"D", 128}, {"P", 300}}, bf16, {}, false, true, "compressed keys"},
        {{{"T", 9}, {"H", 3}, {"D", 64}, {"P", 20}}, bf16, {}, false, true, "positions outside"},
        {{{"T", 5}, {"H", 7}, {"D", 100}, {"P", 20}}, copied},
        {{{"T", 33}, {"H", 2}, {"D", 512}, {"P", 40}}, copied},
        {{{"T", 3}, {"H", 5}, {"D", 192}, {"P", 20}}, f32},
        {{{"T", 1}, {"H", 64}, {"D", 512}, {"P", 1}}, own, {}, false, true, "tables of the step"},
        {{{"T", 19}, {"H", 3}, {"D", 128}, {"P", 17}}, own, {}, false, true, "tables too short"},
        {{{"T", 21}, {"H", 2}, {"D", 100}, {"P", 21}}, own_copied},
        {{{"T", 0}, {"H", 64}, {"D", 512}, {"P", 10}}, bf16},
        bench_case({{"T", 1}, {"H", 64}, {"D", 512}, {"P", 4096}}, bf16),
        bench_case({{"T", 2048}, {"H", 64}, {"D", 512}, {"P", 4096}}, bf16),
        bench_case({{"T", 32768}, {"H", 64}, {"D", 64}, {"P", 32768}}, bf16, {}, "256 MB in place"),
    };
  }
  static std::vector<Case> cases() { return rotation_cases(); }

  static void fill_rotation(Inputs& in) {
    const int64_t table = in.tensor("cos").extent(0);
    for (int64_t p = 0; p < table; ++p)
      for (int64_t i = 0; i < kPairs; ++i) {
        const double angle = in.uniform(-4, 4);
        in.tensor("cos").set({p, i}, std::cos(angle));
        in.tensor("sin").set({p, i}, std::sin(angle));
      }
    if (!in.problem().has("positions")) return;
    HostTensor& positions = in.tensor("positions");
    for (int64_t t = 0; t < positions.numel(); ++t) {
      int64_t p = in.integer(0, table - 1);
      if (in.test_case().note == "positions outside" && t % 2 == 1) p = t % 4 == 1 ? -1 : table;
      positions.set_flat(t, static_cast<double>(p));
    }
  }
  static void fill(Inputs& in) { fill_rotation(in); }

  /// Two products and a sum in f32: three roundings of the terms, which may cancel.
  static Tolerance tolerance(const Problem&) { return {.scaled = 3e-7}; }

  static Cost cost(const Problem& p) {
    const double heads = static_cast<double>(p.dim("T") * p.dim("H"));
    const double touched = heads * static_cast<double>(p.has("y") ? p.dim("D") : kDims);
    return {.bytes_read = touched * bits(p.dtype("x")) / 8 + p.dim("T") * kPairs * 8.0,
            .bytes_written = touched * bits(p.dtype(p.has("y") ? "y" : "x")) / 8,
            .flops = 3 * heads * kDims};
  }
};

}  // namespace tessera::ops
