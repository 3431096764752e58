// SPDX-License-Identifier: Apache-2.0
// Values of the tile language and the operations on them. A kernel is ordinary C++ over Tile and
// View; running it once records a Trace (see kernel_builder.h).
//
//   auto x = load(x_view, {row, col}, {1, 64});           // f32 [1, 64]
//   auto y = x * rsqrt(reduce_sum(x * x, 1) / 64 + eps);  // reductions keep the axis with extent 1
//   store(y_view, {row, col}, y);
//
// Shapes broadcast as in NumPy (trailing dimensions aligned, extent 1 stretched); C++ numbers take
// the dtype of the other operand. Mistakes are recorded with the caller's file and line and give a
// poison value, so that one run reports all of them.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <source_location>
#include <span>
#include <utility>
#include <vector>

#include "tessera/lang/trace.h"

namespace tessera::lang {

class KernelBuilder;

/// A traced value: a tile, or a scalar when its rank is 0. Cheap to copy.
class Tile {
 public:
  Tile() = default;
  Tile(KernelBuilder* builder, ValueId id) : builder_(builder), id_(id) {}

  bool is_poison() const { return id_ < 0; }
  ValueId id() const { return id_; }
  KernelBuilder* builder() const { return builder_; }
  DType dtype() const;
  const TileShape& shape() const;
  int rank() const { return shape().rank(); }

 private:
  KernelBuilder* builder_ = nullptr;
  ValueId id_ = -1;
};

/// An operand: a Tile or a number, with the caller's source line.
struct Operand {
  using Location = std::source_location;
  Operand(Tile t, Location at = Location::current()) : tile(t), is_number(false), where(at) {}
  template <std::floating_point T>
  Operand(T v, Location at = Location::current()) : number(v), where(at) {}
  template <std::integral T>
  Operand(T v, Location at = Location::current())
      : number(static_cast<double>(v)), integer(static_cast<int64_t>(v)), where(at) {}

  Tile tile;
  bool is_number = true;
  double number = 0;
  std::optional<int64_t> integer;  // exact where `number` would round
  Location where;
};

/// A tensor argument in memory: base address, element type, run-time extents and strides.
class View {
 public:
  View() = default;
  View(KernelBuilder* builder, uint32_t index, int rank) : builder_(builder), index_(index) {
    overrides_.fill(-1);
    rank_ = rank;
  }
  int rank() const { return rank_; }
  uint32_t index() const { return index_; }
  DType dtype() const;
  KernelBuilder* builder() const { return builder_; }
  /// Run-time extent of a dimension, i64 scalar.
  Tile extent(int dim, std::source_location at = std::source_location::current()) const;
  /// The same memory with the extent of `dim` replaced, e.g. by a length loaded from the step
  /// state.
  View bounded(int dim, Operand extent) const;
  std::span<const ValueId> overrides() const { return {overrides_.data(), size_t(rank_)}; }

 private:
  KernelBuilder* builder_ = nullptr;
  uint32_t index_ = 0;
  int rank_ = 0;
  std::array<ValueId, 4> overrides_{};
};

using Offsets = std::initializer_list<Operand>;
#define TESSERA_AT std::source_location at = std::source_location::current()

// ---- memory: see MemoryAccess in trace.h for bounds
// -------------------------------------------------
Tile load(const View& view, Offsets offsets, TileShape shape, double fill = 0, TESSERA_AT);
/// One element; out of bounds gives `fill`.
Tile load_scalar(const View& view, Offsets offsets, double fill = 0, TESSERA_AT);
void store(const View& view, Offsets offsets, Operand tile, TESSERA_AT);
/// Writes only where `mask` (i1, shape of the tile) is true.
void store_masked(const View& view, Offsets offsets, Operand tile, Tile mask, TESSERA_AT);
/// rows [R] integers; result [R, cols] from the trailing two dimensions, or [R] when cols is 0
/// (elements of the last dimension).
Tile gather(const View& view, Offsets offsets, Tile rows, int64_t cols, double fill = 0,
            TESSERA_AT);
void scatter(const View& view, Offsets offsets, Tile rows, Tile tile, TESSERA_AT);
void atomic_add(const View& view, Offsets offsets, Tile rows, Tile tile, TESSERA_AT);

// ---- elementwise
// --------------------------------------------------------------------------------------
Tile operator+(Operand a, Operand b);
Tile operator-(Operand a, Operand b);
Tile operator*(Operand a, Operand b);
Tile operator/(Operand a, Operand b);
Tile operator%(Operand a, Operand b);
Tile operator&(Operand a, Operand b);
Tile operator|(Operand a, Operand b);
Tile operator^(Operand a, Operand b);
Tile operator<<(Operand a, Operand b);
Tile operator>>(Operand a, Operand b);
Tile operator==(Operand a, Operand b);
Tile operator!=(Operand a, Operand b);
Tile operator<(Operand a, Operand b);
Tile operator<=(Operand a, Operand b);
Tile operator>(Operand a, Operand b);
Tile operator>=(Operand a, Operand b);
Tile operator-(Operand a);
Tile operator!(Operand a);  // logical not of i1, bitwise not of integers
Tile min(Operand a, Operand b);
Tile max(Operand a, Operand b);
Tile clamp(Operand x, Operand lo, Operand hi);
Tile select(Operand condition, Operand a, Operand b);
Tile fma(Operand a, Operand b, Operand c);
Tile abs(Operand x);
Tile exp(Operand x);
Tile exp2(Operand x);
Tile log(Operand x);
Tile log1p(Operand x);
Tile sqrt(Operand x);
Tile rsqrt(Operand x);
Tile sigmoid(Operand x);
Tile sin(Operand x);
Tile cos(Operand x);
/// Value conversion: round to nearest even, e4m3/e5m2/e2m1 saturate, float to integer truncates,
/// u8/u32 extend with zeros, i8/i32 with the sign.
Tile cast(Operand x, DType to);
/// Same bits, same width.
Tile bitcast(Operand x, DType to);
/// Rounds an f32 tile to `to` and back: what a store to and load from memory would give.
Tile round_to(Operand x, DType to);
Tile ceil_div(Operand a, Operand b);

// ---- shape
// ----------------------------------------------------------------------------------------------
Tile broadcast(Operand x, TileShape shape);
Tile reshape(Operand x, TileShape shape);
Tile transpose(Operand x, std::initializer_list<int> permutation);
Tile slice(Operand x, int axis, int64_t start, int64_t extent);
Tile concat(Operand a, Operand b, int axis);
/// Even and odd elements along the last axis: RoPE pairs, nibbles.
std::pair<Tile, Tile> split(Operand x);
Tile join(Operand even, Operand odd);

// ---- across elements
// ------------------------------------------------------------------------------------
Tile reduce_sum(Operand x, int axis);
Tile reduce_max(Operand x, int axis);
Tile reduce_min(Operand x, int axis);
Tile argmax(Operand x, int axis);  // i32; ties take the lower index
Tile argmin(Operand x, int axis);
Tile scan_sum(Operand x, int axis);
Tile take(Operand x, Operand index);
Tile histogram(Operand x, int64_t bins);
Tile histogram_masked(Operand x, Tile mask, int64_t bins);
/// Sorts along the last axis; equal keys keep the lower value first.
std::pair<Tile, Tile> sort(Operand key, Operand value, bool descending);
/// The 16 entries as a constant table, indexed by the low four bits of `code`.
Tile lookup(std::span<const float, 16> table, Operand code);
Tile random_bits(Operand counter, Operand seed);
/// acc [M, N] + a [M, K] * b^T with b [N, K] (both K-contiguous, as weights are stored).
Tile dot(Operand a, Operand b, Operand acc);
/// acc [M, N] + a [M, K] * b with b [K, N].
Tile dot_kn(Operand a, Operand b, Operand acc);
struct ScaledOperand {
  Tile tile;
  Tile scale;  // may be empty: scale 1
};
Tile dot_scaled(ScaledOperand a, ScaledOperand b, Operand acc, TESSERA_AT);

}  // namespace tessera::lang
