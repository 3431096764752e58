// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/operands.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tessera/base/float_formats.h"
#include "tessera/lang/type_check.h"
#include "tessera/lang/type_rules.h"

namespace tessera::lang::detail {
namespace {

float round_float(DType dtype, double value) {
  switch (dtype) {
    case DType::bf16: return decode_bf16(encode_bf16(value));
    case DType::f16: return decode_f16(encode_f16(value));
    case DType::f8e4m3: return decode_e4m3(encode_e4m3(value));
    case DType::f8e5m2: return decode_e5m2(encode_e5m2(value));
    case DType::f8e8m0: return decode_e8m0(encode_e8m0(value));
    case DType::f4e2m1: return decode_e2m1(encode_e2m1(value));
    default: return static_cast<float>(value);
  }
}

std::string number_text(const Operand& number) {
  return number.integer ? fmt::format("{}", *number.integer) : fmt::format("{}", number.number);
}

bool is_index_dtype(DType dtype) {
  return dtype == DType::i32 || dtype == DType::u32 || dtype == DType::i64;
}

}  // namespace

KernelBuilder* builder_of(std::initializer_list<const Operand*> operands) {
  for (const Operand* o : operands)
    if (!o->is_number && o->tile.builder() != nullptr) return o->tile.builder();
  return nullptr;
}

std::optional<int64_t> constant_bits(DType dtype, const Operand& number) {
  if (!is_kernel_dtype(dtype)) return std::nullopt;
  if (is_float(dtype)) {
    const double value = number.number;
    if (std::isfinite(value) && std::abs(value) > std::numeric_limits<float>::max())
      return std::nullopt;
    return int64_t{std::bit_cast<uint32_t>(round_float(dtype, value))};
  }
  if (number.integer)
    return is_constant_value(dtype, *number.integer) ? number.integer : std::nullopt;
  const double value = number.number;
  if (!(std::abs(value) < 0x1p62) || value != std::trunc(value)) return std::nullopt;
  const auto integer = static_cast<int64_t>(value);
  return is_constant_value(dtype, integer) ? std::optional(integer) : std::nullopt;
}

Tile as_tile(KernelBuilder& k, std::string_view op, const Operand& operand, TileType type) {
  if (!operand.is_number) return operand.tile;
  if (const auto bits = constant_bits(type.dtype, operand))
    return k.emit1(Opcode::kConstant, {}, type, {*bits}, operand.where);
  return k.mistake(operand.where, fmt::format("{}: {} is not a value of {}", op,
                                              number_text(operand), name(type.dtype)));
}

Tile need_tile(KernelBuilder& k, std::string_view op, std::string_view what,
               const Operand& operand) {
  if (!operand.is_number) return operand.tile;
  return k.mistake(operand.where,
                   fmt::format("{}: {} is the number {}; pass a tile (constant() makes one)", op,
                               what, number_text(operand)));
}

Tile as_index(KernelBuilder& k, std::string_view op, std::string_view what,
              const Operand& operand) {
  const TileType index{DType::i64, {}};
  if (operand.is_number) {
    if (const auto bits = constant_bits(DType::i64, operand))
      return k.emit1(Opcode::kConstant, {}, index, {*bits}, operand.where);
    return k.mistake(operand.where, fmt::format("{}: {} is {}; it must be a whole number", op, what,
                                                number_text(operand)));
  }
  const Tile tile = operand.tile;
  if (tile.builder() != &k || tile.is_poison())
    return tile;  // emit() reports what is to be reported
  const TileType& type = k.type(tile.id());
  if (type == index) return tile;
  if (type.shape.rank() != 0 || !is_index_dtype(type.dtype))
    return k.mistake(operand.where, fmt::format("{}: {} is {}; it must be an i32 or i64 scalar", op,
                                                what, type.to_string()));
  if (const auto bits = k.constant_value(tile.id()))
    return k.emit1(Opcode::kConstant, {}, index, {*bits}, operand.where);
  return k.emit1(Opcode::kCast, {tile}, index, {}, operand.where);
}

namespace {

/// The dtype all operands shall have: that of the tiles, or i64 where i32 and i64 scalars meet.
std::optional<DType> common_dtype(KernelBuilder& k, std::string_view op,
                                  std::span<const Operand* const> operands) {
  const Operand* first = nullptr;
  bool index_scalars = true;
  for (const Operand* o : operands) {
    if (o->is_number) continue;
    const TileType& type = k.type(o->tile.id());
    index_scalars &=
        type.shape.rank() == 0 && (type.dtype == DType::i32 || type.dtype == DType::i64);
    if (first == nullptr) first = o;
  }
  if (first == nullptr) {
    k.mistake(
        operands.front()->where,
        fmt::format("{}: all values are numbers; make one a constant() of the dtype you want", op));
    return std::nullopt;
  }
  const TileType& type = k.type(first->tile.id());
  DType dtype = type.dtype;
  for (const Operand* o : operands) {
    if (o->is_number || o->tile.dtype() == type.dtype) continue;
    if (!index_scalars) {
      k.mistake(first->where, fmt::format("{}: {} and {}; cast one of them", op, type.to_string(),
                                          k.type(o->tile.id()).to_string()));
      return std::nullopt;
    }
    dtype = DType::i64;
  }
  return dtype;
}

/// False: poison, or an operand that no kernel made.
bool all_usable(KernelBuilder& k, std::string_view op, std::span<const Operand* const> operands) {
  for (const Operand* o : operands) {
    if (o->is_number) continue;
    if (o->tile.builder() == nullptr) {
      k.mistake(o->where, fmt::format("{}: an operand is an empty Tile, never given a value", op));
      return false;
    }
    if (o->tile.builder() != &k) {
      k.mistake(o->where, fmt::format("{}: an operand belongs to another kernel", op));
      return false;
    }
    if (o->tile.is_poison()) return false;
  }
  return true;
}

}  // namespace

Tile broadcast_to(KernelBuilder& k, Tile x, TileShape shape, std::source_location at) {
  if (x.builder() != &k || x.is_poison() || x.shape() == shape) return x;
  const TileType type{x.dtype(), shape};
  const auto splat = k.constant_value(x.id());
  if (splat && rules::broadcast_shapes(x.shape(), shape) == shape)
    return k.emit1(Opcode::kConstant, {}, type, {*splat}, at);
  return k.emit1(Opcode::kBroadcast, {x}, type, {}, at);
}

std::optional<Unified> unify(KernelBuilder& k, std::string_view op,
                             std::initializer_list<const Operand*> operands, const Operand* also) {
  const std::source_location at = (*operands.begin())->where;
  std::vector<const Operand*> all(operands);
  if (also != nullptr) all.push_back(also);
  if (!all_usable(k, op, all)) return std::nullopt;
  const auto dtype = common_dtype(k, op, {operands.begin(), operands.size()});
  if (!dtype) return std::nullopt;

  TileShape shape;
  std::optional<Tile> largest;
  for (const Operand* o : all) {
    if (o->is_number) continue;
    const auto wider = rules::broadcast_shapes(shape, o->tile.shape());
    if (!wider) {
      k.mistake(at,
                fmt::format("{}: {} and {} do not broadcast", op, k.type(largest->id()).to_string(),
                            k.type(o->tile.id()).to_string()));
      return std::nullopt;
    }
    if (!largest || !(*wider == shape)) largest = o->tile;
    shape = *wider;
  }

  Unified out{{}, {*dtype, shape}};
  for (const Operand* o : all) {
    const DType want = o == also ? DType::i1 : *dtype;
    Tile tile = as_tile(k, op, *o, {want, shape});
    if (!tile.is_poison() && o != also && tile.dtype() != want)
      tile = as_index(k, op, "a scalar", {tile, o->where});
    tile = broadcast_to(k, tile, shape, o->where);
    if (tile.is_poison()) return std::nullopt;
    out.tiles.push_back(tile);
  }
  return out;
}

}  // namespace tessera::lang::detail
