// SPDX-License-Identifier: Apache-2.0
// The grouped product over aligned tiles of pairs: a program takes some rows of one expert's matrix
// and the pairs of one tile. The grid is the worst case; programs beyond the tile count leave at
// once.
#pragma once

#include <utility>

#include "tessera/ops/gemm/kernels/operands.h"
#include "tessera/ops/gemm/kernels/plain_product.h"
#include "tessera/ops/moe/kernels/alignment.h"

namespace tessera::ops::moe {

/// Static: a dot step, how many of them a tile of `block` pairs takes, and how many pairs share a
/// row of x.
struct ProductSizes {
  gemm::Blocking tile;
  int64_t parts, fan;
  DType y_dtype;
};

/// Whether tiles of so many pairs may go by instructions for e4m3, whose sums keep fewer bits:
/// those of more than eight pairs an expert, without 64, which serves steps of all sizes where rows
/// must not depend on their neighbours.
constexpr bool may_round(int64_t block) { return block == 32 || block == 128; }

inline ProductSizes product_sizes(const PlanBuilder& b, const gemm::WeightFormat& f) {
  const auto block = static_cast<int64_t>(b.attribute("block"));
  constexpr int64_t kMany = 128;
  gemm::Products products = gemm::products_of(b.dtype("x"), f);
  if (products == gemm::Products::kE4m3 && !may_round(block))
    products = gemm::Products::kExactInBf16;
  // Few pairs leave large tiles nearly empty: their rows are taken 16 at a time where that gives
  // the same sums (see product_class()).
  const bool tiles = gemm::has_matrix_tile(b.caps(), block);
  const bool divided = block > 16 && b.product_class("P") <= 64 && !tiles;
  // Tiles of many pairs come from more pairs than one holds. Where the chip multiplies tiles, those
  // of fewer are as wide as these, and their turn as long: rows of weights take the place of pairs.
  const bool wide = tiles && block >= 32;
  const bool many = block >= 64 || (wide && products == gemm::Products::kE4m3);
  gemm::Blocking tile = gemm::blocking(b.caps(),
                                       divided ? 16
                                       : many  ? kMany
                                               : block,
                                       b.dim("K"), products);
  if (wide && block == 32 && products == gemm::Products::kExactInBf16)
    tile.n = tile.rows = tile.k = kMany;
  tile.m = divided ? 16 : block;
  return {tile, block / tile.m, static_cast<int64_t>(b.attribute("fan")), b.dtype("y")};
}

inline std::vector<int64_t> product_grid(const ProductSizes& z, const PlanBuilder& b) {
  return {(b.dim("N") + z.tile.rows - 1) / z.tile.rows, z.parts * b.dim("G")};
}

/// Rows of activations x [R, K], with their scales where the kernel has them.
inline lang::ScaledOperand expert_rows(const NamedViews& v, Tile rows, Tile k0,
                                       const gemm::Blocking& t) {
  lang::ScaledOperand tile = {gemm::rows_of(v["x"], rows, k0, t.k), {}};
  if (v.has("x_scale"))
    tile.scale = gemm::rows_of(v["x_scale"], rows, k0 / 128, gemm::scales(t.k, 128), 1);
  return tile;
}

/// Where a stack holds an expert's matrix: its number, or what the table says.
inline Tile place_of(const NamedViews& v, std::string_view table, Tile expert) {
  return v.has(table) ? load_scalar(v[table], {expert}) : expert;
}

/// Sums [m, n] times the scales of rows [n, n + t.n) of an expert, where the format has such.
inline Tile scaled_rows(const gemm::WeightFormat& f, const NamedViews& v, Tile place, Tile n,
                        const gemm::Blocking& t, Tile sum) {
  if (!f.has_row_scales) return sum;
  return sum * reshape(load(v["w_scale"], {place, n}, {t.n}), {1, t.n});
}

/// Scalar: one of the slots' pairs is there.
inline Tile has_pairs(Tile pairs) { return reshape(reduce_max(pairs, 0), {}) >= 0; }

/// The kernel of every such product, weights in format `f`.
inline void plan_expert_product(PlanBuilder& b, const gemm::WeightFormat& f) {
  const ProductSizes z = product_sizes(b, f);
  b.kernel_named(
      "product", product_grid(z, b),
      b.tensors({"x", "x_scale", "w", "w_scale", "offsets", "scale_offsets", "slots", "tile_expert",
                 "tile_count", "y"}),
      [=](KernelBuilder& k, const NamedViews& v) {
        const gemm::Blocking& t = z.tile;
        const View &w = v["w"], &y = v["y"];
        const Tile first = k.program_id(0) * t.rows, part = k.program_id(1);
        const Tile g = z.parts == 1 ? part : part / z.parts;
        Tile used = g < cast(load_scalar(v["tile_count"], {0}), DType::i64);
        if (z.parts > 1) used = used & has_pairs(load(v["slots"], {part * t.m}, {t.m}, -1));
        k.if_(used, [&] {
          const Tile expert = cast(load_scalar(v["tile_expert"], {g}), DType::i64);
          const Tile place = place_of(v, "offsets", expert),
                     scale_place = place_of(v, "scale_offsets", expert);
          const Tile pairs = load(v["slots"], {part * t.m}, {t.m}, -1);
          const Tile rows = z.fan == 1 ? pairs : select(pairs < 0, -1, pairs / z.fan);
          gemm::walk_weights(
              k, t, first, w.extent(1), w.extent(2), DType::f32,
              [&](Tile n, Tile k0, Tile acc) {
                return dot_scaled(expert_rows(v, rows, k0, t),
                                  gemm::weights(f, v, "w", place, scale_place, n, k0, t), acc);
              },
              [&](Tile n, Tile sum) {
                const Tile out = cast(scaled_rows(f, v, scale_place, n, t, sum), z.y_dtype);
                if (t.m > 1) {
                  scatter(y, {0, n}, pairs, out);
                } else {
                  store(y, {reshape(pairs, {}), n}, out);
                }
              });
        });
      });
}

// ---- what the operators share besides ----

/// The signature, with what differs: the name, the words for the weights, and their scales in the
/// formula.
inline Signature product_signature(const char* name, const gemm::WeightFormat& f,
                                   const std::string& kind, const std::string& scales,
                                   const char* source) {
  const bool scaled = f.has_scales();
  std::vector<TensorSpec> tensors = {
      in("x", "R,K",
         scaled ? gemm::activation_dtypes() : std::vector<DType>{DType::bf16, DType::f32})};
  if (scaled) tensors.push_back(gemm::activation_scales("x_scale", "R,K/128"));
  tensors.push_back(weight("w", "U,N,K", {f.dtype}));
  if (scaled)
    tensors.push_back(weight("w_scale", std::string("V,") + f.scale_dims, {f.scale_dtype()}));
  tensors.push_back(optional(weight("offsets", "E", {DType::i64})));
  if (scaled) tensors.push_back(optional(weight("scale_offsets", "E", {DType::i64})));
  for (TensorSpec& spec : std::vector<TensorSpec>{
           in("slots", "S", {DType::i32}), in("tile_expert", "G", {DType::i32}),
           in("tile_count", "1", {DType::i32}), inout("y", "P,N", {DType::bf16, DType::f32})})
    tensors.push_back(spec);
  return {
      .name = name,
      .family = "moe",
      .rows = "57",
      .summary = "each routed pair's row times its expert's " + kind + " matrix",
      .formula =
          "for every slot s of a used tile g = s / block with pair p = slots[s] >= 0, e = "
          "tile_expert[g]: y[p,n] = sum_k x[p/fan,k] " +
          std::string(scaled ? "x_scale[p/fan,k/128] " : "") + "w[e,n,k]" + scales +
          ", sum in f32, one rounding to y. x [R,K] " +
          (scaled ? "e4m3, bf16 or f32 (x_scale left out: 1)" : "bf16 or f32") +
          ", fan = pairs a row: experts per token before w1 and w3, 1 before w2. Rows of y "
          "without a slot keep their value. With `offsets`, expert e is w[offsets[e]]: "
          "matrices at any addresses are one stack whose first stride is a byte" +
          (scaled ? ", likewise w_scale[scale_offsets[e]]." : " or two."),
      .source = source,
      .tensors = std::move(tensors),
      .attributes = {{"block", 1}, {"fan", 1}},
      .dynamic_dims = {"R", "P", "S", "G", "U", "V"},
  };
}

/// Expert e's matrix [N, K], decoded. Tables of a stack that is not "w" have its name before
/// theirs.
inline std::vector<double> expert_matrix(const Reference& r, const gemm::WeightFormat& f, int64_t e,
                                         const std::string& stack = "w") {
  const int64_t N = r.dim("N"), K = r.dim("K");
  const std::string prefix = stack == "w" ? "" : stack + "_", scales = stack + "_scale";
  const auto place = [&](const char* table) {
    const std::string name = prefix + table;
    return r.has(name) ? static_cast<int64_t>(r.in(name).at({e})) : e;
  };
  const int64_t w = place("offsets"), s = place("scale_offsets");
  std::vector<double> matrix(static_cast<size_t>(N * K));
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) {
      double& value = matrix[static_cast<size_t>(n * K + k)];
      value = r.in(stack).at({w, n, k});
      if (f.scale_k != 0) value *= r.in(scales).at({s, n / f.scale_rows, k / f.scale_k});
      if (f.has_row_scales) value *= r.in(scales).at({s, n});
    }
  return matrix;
}

/// y[p] for the pairs in the slots of used tiles.
inline void plain_product(const Reference& r, const gemm::WeightFormat& f) {
  const int64_t N = r.dim("N"), K = r.dim("K");
  const auto block = static_cast<int64_t>(r.attribute("block")),
             fan = static_cast<int64_t>(r.attribute("fan"));
  const auto tiles = static_cast<int64_t>(r.in("tile_count").at({0}));
  const std::vector<double> x = gemm::decoded(r, "x", 1, 128);
  for (int64_t g = 0; g < tiles; ++g) {
    const auto expert = static_cast<int64_t>(r.in("tile_expert").at({g}));
    const std::vector<double> w = expert_matrix(r, f, expert);
    for (int64_t s = g * block; s < (g + 1) * block; ++s) {
      const auto pair = static_cast<int64_t>(r.in("slots").at({s}));
      if (pair < 0) continue;
      for (int64_t n = 0; n < N; ++n) {
        const auto sum = gemm::dot_sum(&x[pair / fan * K], &w[n * K], K);
        r.out("y").set({pair, n}, sum.value, sum.magnitude);
      }
    }
  }
}

/// Whether a chip may keep sums below f32.
inline bool rounds_products(const Problem& p) {
  return p.dtype("x") == DType::f8e4m3 && may_round(static_cast<int64_t>(p.attribute("block")));
}

/// Each expert that is used is read once.
inline Cost expert_cost(const Problem& p) {
  const auto N = static_cast<double>(p.dim("N")), K = static_cast<double>(p.dim("K")),
             pairs = static_cast<double>(p.dim("P"));
  const double experts = static_cast<double>(p.dim(p.has("offsets") ? "E" : "U"));
  const double used = std::min(pairs, experts);
  Cost cost{.flops = 2 * pairs * N * K};
  for (const char* name : {"x", "x_scale"})
    if (p.has(name)) cost.bytes_read += static_cast<double>(p.tensor(name).bytes());
  cost.bytes_read += used * N * K * bits(p.dtype("w")) / 8;
  if (p.has("w_scale")) {
    const Shape& s = p.tensor("w_scale").shape;
    cost.bytes_read += used * static_cast<double>(s[1] * (s.rank() == 3 ? s[2] : 1)) *
                       bits(p.dtype("w_scale")) / 8;
  }
  cost.bytes_written = static_cast<double>(p.tensor("y").bytes());
  return cost;
}

}  // namespace tessera::ops::moe
