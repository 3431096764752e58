// SPDX-License-Identifier: Apache-2.0
// The mixing numbers of hyper-connections: norm of the whole residual stream and its projection on
// a few vectors. Split over K: the parts are summed in order by the second kernel.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/gemm/kernels/weight_walk.h"
#include "tessera/ops/hyper_connection/hc_post_combine.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

struct HcMix {
  static constexpr int64_t kCopies = 4;
  static constexpr int64_t kMaxOutputs = 32;
  static constexpr int64_t kLanes = 16;  // partial sums of squares of a row

  static Signature signature() {
    return {
        .name = "hc_mix",
        .family = "hyper_connection",
        .rows = "44",
        .summary = "RMS norm of the flattened residual stream projected on N vectors, in f32.",
        .formula =
            "m[t, n] = (sum_k X[t, k] fn[n, k]) * rsqrt(sum_k X[t, k]^2 / K + eps), X = x[t] "
            "flattened, "
            "K = 4 D\n"
            "x [T, 4, D] bf16, fn [N, K] f32 (N = 24, at most 32), m [T, N] f32; all f32, no TF32",
        .source = "model.py:678",
        .tensors = {in("x", "T,4,D", {DType::bf16, DType::f32}),
                    weight("fn", "N,D*4", {DType::f32}), out("m", "T,N", {DType::f32})},
        .attributes = {{"eps", 1e-6}},
    };
  }

  /// Whether there are instructions for tiles of this use. A few rows take a tile of 64 as well:
  /// weights of f32 have no instructions for fewer.
  static bool in_tiles(const PlanBuilder& b) {
    return b.m_class("T") > 1 && has_matrix_tile(b.caps()) && b.dtype("x") == DType::bf16;
  }
  /// Parts of K: a function of K and the class of T.
  static int64_t parts_of(const PlanBuilder& b) {
    const int64_t k = kCopies * b.dim("D");
    if (in_tiles(b)) return std::clamp<int64_t>(k / 512, 1, b.m_class("T") > 64 ? 16 : 32);
    return std::clamp<int64_t>(k / (small_programs(b) && b.m_class("T") == 1 ? 1024 : 2048), 1, 16);
  }
  static bool small_programs(const PlanBuilder& b) { return b.caps().gemv_rows < 16; }

  struct Parts {
    Arg dots;     // f32 [parts, T, N]
    Arg squares;  // f32 [parts, T]
    int64_t count = 0;
  };
  /// A stream that is still to take in a sublayer's output, as hc_post_combine does, and where it
  /// goes then.
  struct Update {
    Arg f, post, comb, y;
  };
  /// The kernel that sums products and squares of each part of K of x [T, 4, D] into workspace.
  /// With an update, which updates_row() must allow, x is the stream before it.
  static Parts plan_parts(PlanBuilder& b, int64_t outputs, const Arg& x,
                          const std::optional<Update>& update = {}) {
    const int64_t rows = b.dim("T");
    Parts parts;
    parts.count = parts_of(b);
    parts.dots =
        b.workspace("dots", DType::f32, {parts.count, rows, outputs}, {false, true, false});
    parts.squares = b.workspace("squares", DType::f32, {parts.count, rows}, {false, true});
    if (update)
      plan_updated_row(b, outputs, parts, x, *update);
    else if (b.m_class("T") == 1)
      plan_row(b, outputs, parts, x);
    else if (in_tiles(b))
      plan_tiles(b, outputs, parts, x);
    else
      plan_rows(b, outputs, parts, x);
    parts.dots = parts.dots.with_access(Access::kRead);
    parts.squares = parts.squares.with_access(Access::kRead);
    return parts;
  }
  static Parts plan_parts(PlanBuilder& b, int64_t outputs) {
    return plan_parts(b, outputs, b.tensor("x"));
  }

  /// Columns of one token's stream that a program takes, and how many at once.
  struct RowParts {
    int64_t columns, tile;
  };
  static RowParts row_parts(const PlanBuilder& b) {
    const int64_t k_total = kCopies * b.dim("D"),
                  tile = std::min(b.caps().vector_tile / (small_programs(b) ? 4 : 1),
                                  pow2_ceil(k_total));
    return {round_up(programs_for(k_total, parts_of(b)), tile), tile};
  }
  /// Whether one token's stream can be updated where it is mixed: many small programs, each with
  /// columns of one copy.
  static bool updates_row(const PlanBuilder& b) {
    const int64_t columns = row_parts(b).columns;
    return b.m_class("T") == 1 && small_programs(b) && b.dim("D") % columns == 0 &&
           columns * parts_of(b) == kCopies * b.dim("D");
  }

  /// One token: each program makes the part of the new stream that it multiplies; those with the
  /// squares keep it too.
  static void plan_updated_row(PlanBuilder& b, int64_t outputs, const Parts& parts, const Arg& x,
                               const Update& update) {
    const auto [part, cols] = row_parts(b);
    const int64_t width = b.dim("D"), per_copy = width / part;
    const DType stream = x.dtype;
    b.kernel(
        "updated_row", {outputs + 1, parts.count, b.dim("T")},
        {x, b.tensor("fn"), update.f, update.post, update.comb,
         parts.dots.with_access(Access::kWrite), parts.squares.with_access(Access::kWrite),
         update.y},
        [=, part = part, cols = cols](KernelBuilder& k, View x, View fn, View f, View post,
                                      View comb, View dots, View squares, View y) {
          const Tile n = k.program_id(0), which = k.program_id(1), row = k.program_id(2);
          const Tile copy = which / per_copy, first = which % per_copy * part;
          const Tile gate = load_scalar(post, {row, copy});
          HcPostCombine::Copies mix;
          for (int64_t j = 0; j < kCopies; ++j)
            mix[static_cast<size_t>(j)] = load_scalar(comb, {row, j, copy});
          const auto sum = [&](auto product) {
            const auto [lanes] =
                k.for_range(first, first + part, cols, lang::carry(k.zeros(DType::f32, {cols})),
                            [&](Tile c, Tile acc) {
                              HcPostCombine::Copies old;
                              for (int64_t j = 0; j < kCopies; ++j)
                                old[static_cast<size_t>(j)] = to_f32(load(x, {row, j, c}, {cols}));
                              const Tile added = to_f32(load(f, {row, c}, {cols}));
                              const Tile made = HcPostCombine::combine(added, old, gate, mix);
                              const Tile v = stream == DType::f32 ? made : round_to(made, stream);
                              return lang::carry(fma(v, product(v, c), acc));
                            });
            return reduce_sum(lanes, 0);
          };
          k.if_(
              n < outputs,
              [&] {
                store(dots, {which, row, n},
                      sum([&](Tile, Tile c) { return load(fn, {n, copy * width + c}, {cols}); }));
              },
              [&] {
                store(squares, {which, row}, sum([&](Tile v, Tile c) {
                        store(y, {row, copy, c}, cast(v, stream));
                        return v;
                      }));
              });
        });
  }

  /// One token: each program walks some vectors of fn from one end to the other, one more has the
  /// squares. Chips with many small programs take vectors and parts of K apart.
  static void plan_row(PlanBuilder& b, int64_t outputs, const Parts& parts, const Arg& x) {
    const bool small = small_programs(b);
    const int64_t k_total = kCopies * b.dim("D");
    const auto [part, cols] = row_parts(b);
    const int64_t vectors =
        small ? 1 : std::clamp<int64_t>(b.caps().gemv_rows, 1, std::max<int64_t>(outputs / 8, 1));
    const int64_t together = small ? 1 : parts.count;
    const int64_t programs = programs_for(outputs, vectors);
    b.kernel(
        "row", {programs + 1, programs_for(parts.count, together), b.dim("T")},
        {x.reshaped({b.dim("T"), k_total}), b.tensor("fn"), parts.dots.with_access(Access::kWrite),
         parts.squares.with_access(Access::kWrite)},
        [=, part = part, cols = cols](KernelBuilder& k, View x, View fn, View dots, View squares) {
          const Tile row = k.program_id(2), width = x.extent(1), zero = k.zeros(DType::f32, {cols});
          const auto sum = [&](Tile which, auto product) {
            const auto [lanes] = k.for_range(which * part, min(which * part + part, width), cols,
                                             lang::carry(zero), [&](Tile c, Tile acc) {
                                               const Tile v = to_f32(load(x, {row, c}, {cols}));
                                               return lang::carry(fma(v, product(v, c), acc));
                                             });
            return reduce_sum(lanes, 0);
          };
          const auto products = [&] {
            for_program(k, 0, vectors, 1, fn.extent(0), [&](Tile n) {
              for_program(k, 1, together, 1, dots.extent(0), [&](Tile which) {
                const Tile dot = sum(which, [&](Tile, Tile c) { return load(fn, {n, c}, {cols}); });
                store(dots, {which, row, n}, dot);
              });
            });
          };
          k.if_(k.program_id(0) < programs, products, [&] {
            for_program(k, 1, together, 1, dots.extent(0), [&](Tile which) {
              store(squares, {which, row}, sum(which, [](Tile v, Tile) { return v; }));
            });
          });
        });
  }

  /// Many tokens: products of tiles.
  static void plan_rows(PlanBuilder& b, int64_t outputs, const Parts& parts, const Arg& stream) {
    const int64_t k_total = kCopies * b.dim("D"), rows = b.dim("T");
    const runtime::DotTile tile = b.caps().dot(b.m_class("T"));
    const int64_t m = std::min<int64_t>(tile.m, 16), n = std::min<int64_t>(pow2_ceil(outputs), 8);
    const int64_t kt = std::clamp<int64_t>(tile.k, kLanes, 256);
    const int64_t part = round_up(programs_for(k_total, parts.count), kt);
    const Arg x = stream.reshaped({rows, k_total});
    const auto body = [m, n, kt, part](KernelBuilder& k, View x, View fn, View dots, View squares,
                                       auto tiles) {
      constexpr size_t kTiles = decltype(tiles)::value;
      const Tile row = k.program_id(0) * m, which = k.program_id(1), first = which * part;
      std::array<Tile, kTiles + 1> sums;
      for (size_t i = 0; i < kTiles; ++i) sums[i] = k.zeros(DType::f32, {m, n});
      sums[kTiles] = k.zeros(DType::f32, {m, kLanes});
      const Tile end = min(first + part, x.extent(1));
      sums = k.for_range(first, end, kt, sums, [&](Tile c, auto... carried) {
        std::array<Tile, kTiles + 1> next = {carried...};
        const Tile v = to_f32(load(x, {row, c}, {m, kt}));
        for (size_t i = 0; i < kTiles; ++i)
          next[i] = dot(v, load(fn, {static_cast<int64_t>(i) * n, c}, {n, kt}), next[i]);
        const Tile lanes = reduce_sum(reshape(v * v, {m, kt / kLanes, kLanes}), 1);
        next[kTiles] = next[kTiles] + reshape(lanes, {m, kLanes});
        return next;
      });
      for (size_t i = 0; i < kTiles; ++i)
        store(dots, {which, row, static_cast<int64_t>(i) * n}, reshape(sums[i], {1, m, n}));
      store(squares, {which, row}, reshape(reduce_sum(sums[kTiles], 1), {1, m}));
    };
    // As many tiles of n outputs as it takes.
    const std::vector<int64_t> grid = {programs_for(rows, m), parts.count};
    const std::vector<Arg> args = {x, b.tensor("fn"), parts.dots.with_access(Access::kWrite),
                                   parts.squares.with_access(Access::kWrite)};
    const auto kernel = [&](auto tiles) {
      b.kernel("parts", grid, args,
               [body, tiles](KernelBuilder& k, View x, View fn, View d, View s) {
                 body(k, x, fn, d, s, tiles);
               });
    };
    switch (programs_for(outputs, n)) {
      case 1: kernel(std::integral_constant<size_t, 1>{}); break;
      case 2: kernel(std::integral_constant<size_t, 2>{}); break;
      case 3: kernel(std::integral_constant<size_t, 3>{}); break;
      default: kernel(std::integral_constant<size_t, 4>{}); break;
    }
  }
  /// The same where all vectors fit one tile of the chip's instructions: x is read once, for
  /// products and squares.
  static void plan_tiles(PlanBuilder& b, int64_t outputs, const Parts& parts, const Arg& x) {
    const int64_t k_total = kCopies * b.dim("D"), rows = b.dim("T");
    const int64_t m = b.m_class("T") > 64 ? 128 : 64, n = std::max<int64_t>(8, pow2_ceil(outputs)),
                  cols = 64;
    const int64_t part = round_up(programs_for(k_total, parts.count), cols);
    b.kernel("tiles", {programs_for(rows, m), parts.count},
             {x.reshaped({rows, k_total}), b.tensor("fn"), parts.dots.with_access(Access::kWrite),
              parts.squares.with_access(Access::kWrite)},
             [=](KernelBuilder& k, View x, View fn, View dots, View squares) {
               const Tile row = k.program_id(0) * m, which = k.program_id(1), first = which * part;
               const auto [sums, lanes] = k.for_range(
                   first, min(first + part, x.extent(1)), cols,
                   lang::carry(k.zeros(DType::f32, {m, n}), k.zeros(DType::f32, {m, cols})),
                   [&](Tile c, Tile sums, Tile lanes) {
                     const Tile v = to_f32(load(x, {row, c}, {m, cols}));
                     return lang::carry(dot(v, load(fn, {0, c}, {n, cols}), sums),
                                        fma(v, v, lanes));
                   });
               store(dots, {which, row, 0}, reshape(sums, {1, m, n}));
               store(squares, {which, row}, reshape(reduce_sum(lanes, 1), {1, m}));
             });
  }

  /// The mixing numbers [rows, cols] from row `row` on, summed over the parts, which are all on
  /// their way at once; `width`: K.
  static Tile finish(int64_t parts, const View& dots, const View& squares, Tile row, int64_t rows,
                     int64_t cols, Operand width, double eps) {
    Tile m = load(dots, {0, row, 0}, {rows, cols}), q = load(squares, {0, row}, {rows});
    for (int64_t part = 1; part < parts; ++part) {
      m = m + load(dots, {part, row, 0}, {rows, cols});
      q = q + load(squares, {part, row}, {rows});
    }
    return m * reshape(rsqrt(q / width + eps), {rows, 1});
  }

  static void plan(PlanBuilder& b) { plan_numbers(b, b.dim("N"), b.tensor("x"), b.tensor("m")); }

  /// The kernels from x and fn [outputs, K] to the mixing numbers m [T, outputs].
  static void plan_numbers(PlanBuilder& b, int64_t outputs, const Arg& x, const Arg& m) {
    const Parts parts = plan_parts(b, outputs, x);
    const int64_t cols = pow2_ceil(outputs);
    // A few rows a program where programs are many.
    const int64_t most = small_programs(b) ? 16 : b.m_class("T");
    const int64_t rows = std::clamp<int64_t>(b.caps().vector_tile / cols, 1,
                                             std::min<int64_t>(most, b.m_class("T")));
    const double eps = b.attribute("eps");
    b.kernel("sum", {programs_for(b.dim("T"), rows)},
             {parts.dots, parts.squares, b.tensor("fn"), m},
             [=, count = parts.count](KernelBuilder& k, View dots, View squares, View fn, View m) {
               const Tile row = k.program_id(0) * rows;
               store(m, {row, 0},
                     finish(count, dots, squares, row, rows, cols, to_f32(fn.extent(1)), eps));
             });
  }

  /// The numbers of token t in double, and the sums of the magnitudes of their products.
  struct Numbers {
    std::vector<double> values, magnitudes;
  };
  static Numbers numbers(const HostTensor& x, const HostTensor& fn, int64_t t, double eps) {
    const int64_t width = x.extent(2);
    double squares = 0;
    for (int64_t j = 0; j < 4; ++j)
      for (int64_t d = 0; d < width; ++d) squares += std::pow(x.at({t, j, d}), 2);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(4 * width) + eps);
    Numbers found;
    for (int64_t n = 0; n < fn.extent(0); ++n) {
      double sum = 0, magnitude = 0;
      for (int64_t j = 0; j < 4; ++j)
        for (int64_t d = 0; d < width; ++d) {
          const double product = x.at({t, j, d}) * fn.at({n, j * width + d});
          sum += product;
          magnitude += std::abs(product);
        }
      found.values.push_back(sum * scale);
      found.magnitudes.push_back(magnitude * scale);
    }
    return found;
  }

  static void reference(const Reference& r) {
    for (int64_t t = 0; t < r.dim("T"); ++t) {
      const Numbers found = numbers(r.in("x"), r.in("fn"), t, r.attribute("eps"));
      for (size_t n = 0; n < found.values.size(); ++n)
        r.out("m").set({t, static_cast<int64_t>(n)}, found.values[n], found.magnitudes[n]);
    }
  }

  static std::vector<Case> cases() {
    const std::map<std::string, DType> bf16 = {{"x", DType::bf16}}, f32 = {{"x", DType::f32}};
    return {
        {{{"T", 1}, {"D", 4096}, {"N", 24}}, bf16, {}, false, true, "Flash"},
        {{{"T", 3}, {"D", 7168}, {"N", 24}}, bf16, {}, false, true, "Pro"},
        {{{"T", 17}, {"D", 512}, {"N", 24}}, bf16},
        {{{"T", 70}, {"D", 100}, {"N", 4}}, f32},
        {{{"T", 130}, {"D", 1024}, {"N", 24}}, bf16},
        {{{"T", 70}, {"D", 250}, {"N", 31}}, bf16},
        {{{"T", 2}, {"D", 1000}, {"N", 31}}, bf16},
        {{{"T", 9}, {"D", 33}, {"N", 9}},
         f32,
         {{"eps", 0.5}},
         false,
         true,
         "odd, eps that matters"},
        {{{"T", 4}, {"D", 256}, {"N", 24}}, bf16, {}, false, true, "zero row"},
        {{{"T", 0}, {"D", 4096}, {"N", 24}}, bf16},
        bench_case({{"T", 1}, {"D", 4096}, {"N", 24}}, bf16),
        bench_case({{"T", 64}, {"D", 4096}, {"N", 24}}, bf16),
        bench_case({{"T", 4096}, {"D", 4096}, {"N", 24}}, bf16),
        bench_case({{"T", 8192}, {"D", 4096}, {"N", 24}}, bf16, {}, "256 MB"),
    };
  }

  static void fill(Inputs& in) {
    if (in.test_case().note != "zero row") return;
    HostTensor& x = in.tensor("x");
    for (int64_t j = 0; j < kCopies; ++j)
      for (int64_t d = 0; d < x.extent(2); ++d) x.set({1, j, d}, 0);
  }

  /// f32 sums of K products in at least 16 partial sums: in units of sum |x||fn|, random signs make
  /// the error near 2^-24; 1e-6 leaves room for any order. The norm adds a relative error.
  static Tolerance tolerance(const Problem&) { return {.relative = 1e-5, .scaled = 1e-6}; }

  static Cost cost(const Problem& p) {
    const double k = static_cast<double>(kCopies * p.dim("D")),
                 rows = static_cast<double>(p.dim("T"));
    const double outputs = static_cast<double>(p.dim("N"));
    return {.bytes_read = rows * k * bits(p.dtype("x")) / 8 + outputs * k * 4,
            .bytes_written = rows * outputs * 4,
            .flops = rows * k * 2 * (outputs + 1)};
  }
};

}  // namespace tessera::ops
