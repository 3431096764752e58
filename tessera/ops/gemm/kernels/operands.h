// SPDX-License-Identifier: Apache-2.0
// Operands of the matrix products: activations of three precisions, weights as the checkpoint
// stores them. What narrows an operand is decoded exactly, so that precisions differ in their sums
// only.
#pragma once

#include "tessera/ops/gemm/kernels/weight_walk.h"

namespace tessera::ops::gemm {

/// Elements of a weight, and the block of [N, K] that shares a power of two as its scale (0: there
/// is none); or one f32 scale for a row, which multiplies its sum.
struct WeightFormat {
  DType dtype;
  int64_t scale_rows = 0, scale_k = 0;
  const char* scale_dims = "";  // behind the dimensions of a stack
  bool has_row_scales = false;

  constexpr bool has_scales() const { return scale_k != 0 || has_row_scales; }
  constexpr DType scale_dtype() const { return has_row_scales ? DType::f32 : DType::f8e8m0; }
};
inline constexpr WeightFormat kBf16 = {DType::bf16};
inline constexpr WeightFormat kFp8 = {DType::f8e4m3, 128, 128, "N/128,K/128"};
inline constexpr WeightFormat kFp4 = {DType::f4e2m1, 1, 32, "N,K/32"};
inline constexpr WeightFormat kInt8 = {DType::i8, 0, 0, "N", true};

/// What such operands make.
constexpr Products products_of(DType activations, const WeightFormat& f) {
  if (activations == DType::f8e4m3 && (f.dtype == DType::f8e4m3 || f.dtype == DType::f4e2m1))
    return Products::kE4m3;
  return (activations == DType::bf16 || activations == DType::f8e4m3) && f.dtype != DType::i8
             ? Products::kExactInBf16
             : Products::kWide;
}

/// Extent of a tile of scales, one per `group` elements; a tile smaller than a group has one.
constexpr int64_t scales(int64_t elements, int64_t group) {
  return std::max<int64_t>(1, elements / group);
}

inline std::string scale_of(std::string_view operand) { return std::string(operand) + "_scale"; }

// ---- signatures ----

/// Activations: e4m3 with e8m0 scales for every 128 of K, or bf16 or f32 without.
inline std::vector<DType> activation_dtypes() { return {DType::f8e4m3, DType::bf16, DType::f32}; }
inline TensorSpec activation_scales(std::string name, std::string dims) {
  return optional(in(std::move(name), std::move(dims), {DType::f8e8m0}));
}

// ---- tiles; scales outside their view read 1, elements 0 ----

/// Rows [m, m + t.m) of activations [M, K], with their scales where the kernel has them.
inline lang::ScaledOperand activations(const NamedViews& v, std::string_view name, Tile m, Tile k0,
                                       const Blocking& t) {
  lang::ScaledOperand tile = {load(v[name], {m, k0}, {t.m, t.k}), {}};
  if (v.has(scale_of(name)))
    tile.scale = load(v[scale_of(name)], {m, k0 / 128}, {t.m, scales(t.k, 128)}, 1);
  return tile;
}

/// A tile's rows of a matrix [R, K]. One row is a plain load, which stays linear.
inline Tile rows_of(const View& x, Tile rows, Tile column, int64_t columns, double fill = 0) {
  if (rows.shape()[0] > 1) return gather(x, {0, column}, rows, columns, fill);
  return load(x, {reshape(rows, {}), column}, {1, columns}, fill);
}

/// First row of the scales of rows from n.
inline Tile scale_row(const WeightFormat& f, Tile n) {
  return f.scale_rows == 1 ? n : n / f.scale_rows;
}
inline TileShape scale_shape(const WeightFormat& f, const Blocking& t) {
  return {scales(t.n, f.scale_rows), scales(t.k, f.scale_k)};
}

/// Rows [n, n + t.n) of weights [N, K].
inline lang::ScaledOperand weights(const WeightFormat& f, const NamedViews& v,
                                   std::string_view name, Tile n, Tile k0, const Blocking& t) {
  lang::ScaledOperand tile = {load(v[name], {n, k0}, {t.n, t.k}), {}};
  if (f.scale_k != 0)
    tile.scale = load(v[scale_of(name)], {scale_row(f, n), k0 / f.scale_k}, scale_shape(f, t), 1);
  return tile;
}

/// The same of one matrix of a stack [E, N, K]: number `e`, with scales number `e_scale`.
inline lang::ScaledOperand weights(const WeightFormat& f, const NamedViews& v,
                                   std::string_view name, Tile e, Tile e_scale, Tile n, Tile k0,
                                   const Blocking& t) {
  lang::ScaledOperand tile = {load(v[name], {e, n, k0}, {t.n, t.k}), {}};
  if (f.dtype == DType::i8) tile.tile = cast(tile.tile, DType::bf16);  // exact
  if (f.scale_k != 0)
    tile.scale =
        load(v[scale_of(name)], {e_scale, scale_row(f, n), k0 / f.scale_k}, scale_shape(f, t), 1);
  return tile;
}

}  // namespace tessera::ops::gemm
