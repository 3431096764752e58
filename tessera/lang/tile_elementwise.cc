// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "tessera/lang/kernel_builder.h"
#include "tessera/lang/operands.h"
#include "tessera/lang/tile.h"
#include "tessera/lang/type_check.h"

namespace tessera::lang {
namespace {

using detail::builder_of;

Tile unary(Opcode op, const Operand& x) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  return k->emit1(op, {x.tile}, k->type(x.tile.id()), {}, x.where);
}

Tile elementwise(Opcode op, std::initializer_list<const Operand*> operands) {
  KernelBuilder* k = builder_of(operands);
  if (k == nullptr) return {};
  const auto unified = detail::unify(*k, mnemonic(op), operands);
  if (!unified) return k->poison();
  return k->emit(op, unified->tiles, {&unified->type, 1}, {}, (*operands.begin())->where)[0];
}

Tile compare(Predicate predicate, const Operand& a, const Operand& b) {
  KernelBuilder* k = builder_of({&a, &b});
  if (k == nullptr) return {};
  const auto unified = detail::unify(*k, "compare", {&a, &b});
  if (!unified) return k->poison();
  const TileType result{DType::i1, unified->type.shape};
  return k->emit(Opcode::kCompare, unified->tiles, {&result, 1}, {static_cast<int64_t>(predicate)},
                 a.where)[0];
}

}  // namespace

Tile operator+(Operand a, Operand b) { return elementwise(Opcode::kAdd, {&a, &b}); }
Tile operator-(Operand a, Operand b) { return elementwise(Opcode::kSub, {&a, &b}); }
Tile operator*(Operand a, Operand b) { return elementwise(Opcode::kMul, {&a, &b}); }
Tile operator/(Operand a, Operand b) { return elementwise(Opcode::kDiv, {&a, &b}); }
Tile operator%(Operand a, Operand b) { return elementwise(Opcode::kRem, {&a, &b}); }
Tile operator&(Operand a, Operand b) { return elementwise(Opcode::kAnd, {&a, &b}); }
Tile operator|(Operand a, Operand b) { return elementwise(Opcode::kOr, {&a, &b}); }
Tile operator^(Operand a, Operand b) { return elementwise(Opcode::kXor, {&a, &b}); }
Tile operator<<(Operand a, Operand b) { return elementwise(Opcode::kShl, {&a, &b}); }
Tile operator>>(Operand a, Operand b) { return elementwise(Opcode::kShr, {&a, &b}); }
Tile min(Operand a, Operand b) { return elementwise(Opcode::kMin, {&a, &b}); }
Tile max(Operand a, Operand b) { return elementwise(Opcode::kMax, {&a, &b}); }
Tile fma(Operand a, Operand b, Operand c) { return elementwise(Opcode::kFma, {&a, &b, &c}); }

Tile operator==(Operand a, Operand b) { return compare(Predicate::kEq, a, b); }
Tile operator!=(Operand a, Operand b) { return compare(Predicate::kNe, a, b); }
Tile operator<(Operand a, Operand b) { return compare(Predicate::kLt, a, b); }
Tile operator<=(Operand a, Operand b) { return compare(Predicate::kLe, a, b); }
Tile operator>(Operand a, Operand b) { return compare(Predicate::kGt, a, b); }
Tile operator>=(Operand a, Operand b) { return compare(Predicate::kGe, a, b); }

Tile operator-(Operand a) { return unary(Opcode::kNeg, a); }
Tile operator!(Operand a) { return unary(Opcode::kNot, a); }
Tile abs(Operand x) { return unary(Opcode::kAbs, x); }
Tile exp(Operand x) { return unary(Opcode::kExp, x); }
Tile exp2(Operand x) { return unary(Opcode::kExp2, x); }
Tile log(Operand x) { return unary(Opcode::kLog, x); }
Tile log1p(Operand x) { return unary(Opcode::kLog1p, x); }
Tile sqrt(Operand x) { return unary(Opcode::kSqrt, x); }
Tile rsqrt(Operand x) { return unary(Opcode::kRsqrt, x); }
Tile sigmoid(Operand x) { return unary(Opcode::kSigmoid, x); }
Tile sin(Operand x) { return unary(Opcode::kSin, x); }
Tile cos(Operand x) { return unary(Opcode::kCos, x); }

Tile clamp(Operand x, Operand lo, Operand hi) { return min({max(x, lo), x.where}, hi); }

Tile select(Operand condition, Operand a, Operand b) {
  KernelBuilder* k = builder_of({&condition, &a, &b});
  if (k == nullptr) return {};
  const auto unified = detail::unify(*k, "select", {&a, &b}, &condition);
  if (!unified) return k->poison();
  return k->emit1(Opcode::kSelect, {unified->tiles[2], unified->tiles[0], unified->tiles[1]},
                  unified->type, {}, condition.where);
}

Tile cast(Operand x, DType to) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  const Tile tile = x.tile;
  if (tile.is_poison() || tile.dtype() == to) return tile;
  const auto step = [&](Tile from, DType dtype) {
    return k->emit1(Opcode::kCast, {from}, {dtype, from.shape()}, {}, x.where);
  };
  const DType from = tile.dtype();
  if (to == DType::i1 || !is_kernel_dtype(to) || is_single_cast(from, to)) return step(tile, to);
  // Storage types meet arithmetic in one place only: floats in f32, small integers in i32.
  Tile value = tile;
  if (compute_dtype(from) != from && from != DType::i1) value = step(value, compute_dtype(from));
  if (value.dtype() != to && value.dtype() != compute_dtype(to))
    value = step(value, compute_dtype(to));
  return value.dtype() == to || value.is_poison() ? value : step(value, to);
}

Tile bitcast(Operand x, DType to) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  if (!x.tile.is_poison() && x.tile.dtype() == to) return x.tile;
  return k->emit1(Opcode::kBitcast, {x.tile}, {to, x.tile.shape()}, {}, x.where);
}

Tile round_to(Operand x, DType to) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  if (!x.tile.is_poison() && (x.tile.dtype() != DType::f32 || !is_float(to)))
    return k->mistake(x.where,
                      fmt::format("round_to: {} to {}; an f32 tile is rounded to a float type",
                                  k->type(x.tile.id()).to_string(), name(to)));
  return cast({cast(x, to), x.where}, DType::f32);
}

Tile ceil_div(Operand a, Operand b) {
  const Operand one(1, b.where);
  if (b.is_number && b.integer) return (a + Operand(*b.integer - 1, b.where)) / b;
  return Operand(a + Operand(b - one, b.where), a.where) / b;
}

}  // namespace tessera::lang
