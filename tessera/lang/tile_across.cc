// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>

#include "tessera/lang/kernel_builder.h"
#include "tessera/lang/operands.h"
#include "tessera/lang/tile.h"

namespace tessera::lang {
namespace {

using detail::as_index;
using detail::as_tile;
using detail::builder_of;
using detail::need_tile;

Tile reduce(const Operand& x, int axis, Reduction reduction) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  TileShape shape = x.tile.shape();
  if (axis >= 0 && axis < shape.rank()) shape.set(axis, 1);
  const DType dtype = reduction >= Reduction::kArgMax ? DType::i32 : x.tile.dtype();
  return k->emit1(Opcode::kReduce, {x.tile}, {dtype, shape},
                  {axis, static_cast<int64_t>(reduction)}, x.where);
}

Tile make_dot(const Operand& a, const Operand& b, const Operand& acc, bool kn) {
  KernelBuilder* k = builder_of({&a, &b, &acc});
  if (k == nullptr) return {};
  const Tile x = need_tile(*k, "dot", "a", a), y = need_tile(*k, "dot", "b", b);
  if (x.is_poison() || y.is_poison()) return k->emit1(Opcode::kDot, {x, y}, {}, {kn}, a.where);
  TileShape shape;
  if (x.rank() == 2 && y.rank() == 2) shape = {x.shape()[0], y.shape()[kn ? 1 : 0]};
  const Tile sum =
      as_tile(*k, "dot", acc, {x.dtype() == DType::i8 ? DType::i32 : DType::f32, shape});
  return k->emit1(Opcode::kDot, {x, y, sum}, {sum.dtype(), sum.shape()}, {kn}, a.where);
}

}  // namespace

Tile reduce_sum(Operand x, int axis) { return reduce(x, axis, Reduction::kSum); }
Tile reduce_max(Operand x, int axis) { return reduce(x, axis, Reduction::kMax); }
Tile reduce_min(Operand x, int axis) { return reduce(x, axis, Reduction::kMin); }
Tile argmax(Operand x, int axis) { return reduce(x, axis, Reduction::kArgMax); }
Tile argmin(Operand x, int axis) { return reduce(x, axis, Reduction::kArgMin); }

Tile scan_sum(Operand x, int axis) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  return k->emit1(Opcode::kScan, {x.tile}, {x.tile.dtype(), x.tile.shape()}, {axis}, x.where);
}

Tile take(Operand x, Operand index) {
  KernelBuilder* k = builder_of({&x, &index});
  if (k == nullptr) return {};
  const Tile values = need_tile(*k, "take", "the table", x),
             at = need_tile(*k, "take", "the index", index);
  return k->emit1(Opcode::kTake, {values, at}, {values.dtype(), at.shape()}, {}, x.where);
}

Tile histogram(Operand x, int64_t bins) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  return k->emit1(Opcode::kHistogram, {x.tile}, {DType::i32, {bins}}, {bins}, x.where);
}

Tile histogram_masked(Operand x, Tile mask, int64_t bins) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  return k->emit1(Opcode::kHistogram, {x.tile, mask}, {DType::i32, {bins}}, {bins}, x.where);
}

std::pair<Tile, Tile> sort(Operand key, Operand value, bool descending) {
  KernelBuilder* k = builder_of({&key, &value});
  if (k == nullptr) return {};
  const std::array operands = {need_tile(*k, "sort", "the key", key),
                               need_tile(*k, "sort", "the value", value)};
  const TileShape shape = operands[0].shape();
  const std::array<TileType, 2> types = {TileType{operands[0].dtype(), shape},
                                         TileType{DType::i32, shape}};
  const auto out = k->emit(Opcode::kSort, operands, types, {descending}, key.where);
  return {out[0], out[1]};
}

Tile lookup(std::span<const float, 16> table, Operand code) {
  KernelBuilder* k = builder_of({&code});
  if (k == nullptr) return {};
  std::vector<int64_t> entries;
  for (float entry : table) entries.push_back(std::bit_cast<uint32_t>(entry));
  return k->emit1(Opcode::kLookup, {code.tile}, {DType::f32, code.tile.shape()}, std::move(entries),
                  code.where);
}

Tile random_bits(Operand counter, Operand seed) {
  KernelBuilder* k = builder_of({&counter, &seed});
  if (k == nullptr) return {};
  const Tile x = need_tile(*k, "random_bits", "the counter", counter);
  return k->emit1(Opcode::kRandomBits, {x, as_index(*k, "random_bits", "the seed", seed)},
                  {DType::u32, x.shape()}, {}, counter.where);
}

Tile dot(Operand a, Operand b, Operand acc) { return make_dot(a, b, acc, false); }
Tile dot_kn(Operand a, Operand b, Operand acc) { return make_dot(a, b, acc, true); }

Tile dot_scaled(ScaledOperand a, ScaledOperand b, Operand acc, std::source_location at) {
  KernelBuilder* k = a.tile.builder() != nullptr ? a.tile.builder() : b.tile.builder();
  if (k == nullptr) return {};
  TileShape shape;
  if (a.tile.rank() == 2 && b.tile.rank() == 2) shape = {a.tile.shape()[0], b.tile.shape()[0]};
  const Tile sum = as_tile(*k, "dot_scaled", acc, {DType::f32, shape});
  std::vector<Tile> operands = {a.tile, b.tile, sum};
  const bool has_a = a.scale.builder() != nullptr, has_b = b.scale.builder() != nullptr;
  if (has_a) operands.push_back(a.scale);
  if (has_b) operands.push_back(b.scale);
  const TileType type{DType::f32, sum.shape()};
  return k->emit(Opcode::kDotScaled, operands, {&type, 1}, {has_a, has_b}, at)[0];
}

}  // namespace tessera::lang
