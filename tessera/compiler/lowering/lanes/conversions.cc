// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/lanes/conversions.h"

#include <array>
#include <cmath>
#include <optional>

#include "tessera/base/check.h"
#include "tessera/compiler/lowering/lanes/memory_format.h"

namespace tessera::compiler {

namespace arith = mlir::arith;
using arith::CmpIPredicate;
using mlir::Value;

namespace {

/// A format with sign, exponent and mantissa.
struct Layout {
  int exponentBits, mantissaBits;
  int64_t maxFinite;  // magnitude code of the largest finite number
  int64_t overflow;   // what larger numbers become
  int64_t nan;
  bool keepsPayload, signedNan;

  int bias() const { return (1 << (exponentBits - 1)) - 1; }
  int signShift() const { return exponentBits + mantissaBits; }
};

Layout layoutOf(DType dtype) {
  switch (dtype) {
    case DType::f16: return {5, 10, 0x7bff, 0x7c00, 0x7e00, true, true};
    case DType::f8e4m3: return {4, 3, 0x7e, 0x7e, 0x7f, false, false};
    case DType::f8e5m2: return {5, 2, 0x7b, 0x7b, 0x7f, false, false};
    case DType::f4e2m1: return {2, 1, 7, 7, 7, false, true};
    default: TESSERA_UNREACHABLE("{} has no such layout", name(dtype));
  }
}

Value toFloat(Emitter& e, Value bits) { return e.bitcast(bits, e.f32()); }
Value toBits(Emitter& e, Value number) { return e.bitcast(number, e.i32()); }
Value constant32(Emitter& e, Value like, int64_t value) {
  return e.integer(e.withElement(like, e.i32()), value);
}
Value constantF(Emitter& e, Value like, double value) {
  return e.constant(e.withElement(like, e.f32()), value);
}

Value decodeBf16(Emitter& e, Value code) {
  return toFloat(e, e.shl(e.zeroExtend(code, e.i32()), 16));
}

/// Powers of two; 0 is 2^-127, a subnormal, and 255 is NaN: both have bit 22 set.
Value decodeScale(Emitter& e, Value code) {
  const Value wide = e.zeroExtend(code, e.i32());
  const Value ends = e.ori(e.compare(CmpIPredicate::eq, wide, constant32(e, wide, 0)),
                           e.compare(CmpIPredicate::eq, wide, constant32(e, wide, 255)));
  const Value extra = e.select(ends, constant32(e, wide, 0x400000), constant32(e, wide, 0));
  return toFloat(e, e.ori(e.shl(wide, 23), extra));
}

Value decodeSmall(Emitter& e, const Layout& layout, Value code) {
  const Value wide = e.zeroExtend(code, e.i32());
  const Value magnitude = e.andi(wide, (int64_t{1} << layout.signShift()) - 1);
  const Value shifted = e.shl(magnitude, 23 - layout.mantissaBits);
  const Value normal = e.add(shifted, constant32(e, wide, int64_t{127 - layout.bias()} << 23));
  // Subnormals: put the mantissa behind an implicit one of the smallest exponent, subtract that
  // one.
  const Value one = e.add(shifted, constant32(e, wide, int64_t{128 - layout.bias()} << 23));
  const Value subnormal =
      toBits(e, e.sub(toFloat(e, one), constantF(e, wide, std::ldexp(1.0, 1 - layout.bias()))));
  const Value isNormal = e.compare(CmpIPredicate::sge, magnitude,
                                   constant32(e, wide, int64_t{1} << layout.mantissaBits));
  Value bits = e.select(isNormal, normal, subnormal);
  if (layout.nan > layout.maxFinite) {
    const Value special =
        e.compare(CmpIPredicate::sgt, magnitude, constant32(e, wide, layout.maxFinite));
    const Value payload = e.andi(shifted, 0x7fffff);
    Value value = e.ori(payload, 0x7fc00000);
    // A mantissa of zero is infinity, in formats that have one.
    if (layout.exponentBits == 5)
      value = e.select(e.compare(CmpIPredicate::eq, payload, constant32(e, wide, 0)),
                       constant32(e, wide, 0x7f800000), value);
    bits = e.select(special, value, bits);
  }
  const Value sign = e.shl(e.shr(wide, layout.signShift()), 31);
  return toFloat(e, e.ori(bits, sign));
}

/// Widening and narrowing of f16 in hardware: exact, subnormals kept, NaN quieted, as ours.
bool hasF16(const Emitter& e) { return e.target.hasAvx2; }

/// Bits 16 to 31 of i32 lanes. A permutation of words where there is one for whole registers: it
/// takes the place of a shift and a truncation of each.
Value upperHalves(Emitter& e, Value bits) {
  const int64_t lanes = Emitter::lanesOf(bits);
  if (!e.target.hasAvx512 || lanes <= e.target.lanes) return e.truncate(e.shr(bits, 16), e.i16());
  llvm::SmallVector<int64_t> odd(lanes);
  for (int64_t i = 0; i < lanes; ++i) odd[i] = 2 * i + 1;
  return e.shuffle(e.bitcast(bits, e.i16()), {}, odd);
}

/// `rounded`, and NaN where `bits` are: theirs made quiet.
Value keepNan(Emitter& e, Value value, Value bits, Value rounded) {
  const int64_t lanes = Emitter::lanesOf(bits), width = e.target.lanes;
  if (!e.target.hasAvx512 || lanes < width) {
    const Value isNan = e.compare(arith::CmpFPredicate::UNO, value, value);
    return e.select(isNan, e.ori(bits, 0x400000), rounded);
  }
  // One instruction that looks at the kind of number: 2 makes a NaN quiet, 0 leaves the rest.
  llvm::SmallVector<Value> parts;
  for (int64_t first = 0; first < lanes; first += width) {
    const Value from = e.slice(value, first, width);
    const Value to = toFloat(e, e.slice(rounded, first, width));
    parts.push_back(e.intrinsic("llvm.x86.avx512.mask.fixupimm.ps.512", to.getType(),
                                {to, from, e.integer(e.type(e.i32(), width), 0x22), e.i32(0),
                                 e.integer(e.i16(), -1), e.i32(4)}));
  }
  return toBits(e, e.concat(parts));
}

/// The carry into the upper half rounds: more than a half, or a half and an odd number.
Value encodeBf16(Emitter& e, Value value) {
  const Value bits = toBits(e, value);
  const Value isEven = e.compare(CmpIPredicate::eq, e.andi(bits, 0x10000), constant32(e, bits, 0));
  const Value carry = e.select(isEven, constant32(e, bits, 0x7fff), constant32(e, bits, 0x8000));
  return upperHalves(e, keepNan(e, value, bits, e.add(bits, carry)));
}

Value encodeScale(Emitter& e, Value value) {
  const Value bits = toBits(e, value);
  const Value field = e.shr(bits, 23), mantissa = e.andi(bits, 0x7fffff);
  const Value half =
      e.sub(constant32(e, bits, 0x400000), e.andi(field, 1));  // ties go to the even code
  const Value up = e.zeroExtend(e.compare(CmpIPredicate::sgt, mantissa, half), e.i32());
  const Value normal = e.minSigned(e.add(field, up), constant32(e, bits, 254));
  const Value tiny =
      e.zeroExtend(e.compare(CmpIPredicate::sgt, mantissa, constant32(e, bits, 0x600000)), e.i32());
  Value code = e.select(e.compare(CmpIPredicate::eq, field, constant32(e, bits, 0)), tiny, normal);
  code = e.select(e.compare(CmpIPredicate::slt, bits, constant32(e, bits, 0)),
                  constant32(e, bits, 0), code);
  const Value isNan = e.compare(arith::CmpFPredicate::UNO, value, value);
  return e.truncate(e.select(isNan, constant32(e, bits, 255), code), e.i8());
}

/// Adding a power of two whose last place is that of the result rounds to it, subnormals too. The
/// code is the number of last places, with the implicit one, on top of the exponent's; a constant
/// too large until the end, where lanes are narrow.
Value encodeSmall(Emitter& e, const Layout& layout, Value value) {
  const Value bits = toBits(e, value);
  const auto number = [&](int64_t n) { return constant32(e, bits, n); };
  const int drop = 23 - layout.mantissaBits;
  const int64_t smallest = 128 - layout.bias();  // exponent field of the smallest normal number
  const int64_t excess = smallest << layout.mantissaBits;
  const bool saturates = layout.overflow == layout.maxFinite;
  // Beyond this the result is known: the largest finite number, or the next power of two.
  const int64_t largest =
      saturates ? (layout.maxFinite + excess - (int64_t{1} << layout.mantissaBits)) << drop
                : (smallest + (layout.maxFinite >> layout.mantissaBits)) << 23;
  const Value all = e.andi(bits, 0x7fffffff);
  const Value magnitude = e.minSigned(all, number(largest));
  const Value exponent = e.maxSigned(e.andi(magnitude, 0x7f800000), number(smallest << 23));
  const Value anchor = e.add(exponent, number(int64_t{drop} << 23));
  const Value anchored = toBits(e, e.add(toFloat(e, magnitude), toFloat(e, anchor)));
  Value code = e.add(e.sub(anchored, anchor), e.shr(exponent, drop));
  const Value isNan = e.compare(CmpIPredicate::sgt, all, number(0x7f800000));
  Value nan = number(layout.nan + excess);
  if (layout.keepsPayload)
    nan = e.add(e.ori(e.shr(e.andi(bits, 0x7fffff), drop), layout.nan), number(excess));
  if (layout.signedNan) code = e.select(isNan, nan, code);
  const Value sign = e.andi(e.shr(bits, 31 - layout.signShift()), int64_t{1} << layout.signShift());
  // The highest bit of a lane takes no carry.
  const int width = layout.signShift() > 8 ? 16 : 8;
  code = layout.signShift() + 1 == width ? e.xori(code, sign) : e.add(code, sign);
  if (!layout.signedNan) code = e.select(isNan, nan, code);
  code = e.truncate(code, width == 16 ? e.i16() : e.i8());
  return e.sub(code, e.integer(code.getType(), excess));
}

// NVIDIA's conversions round to nearest even and saturate as ours; they take two numbers at a time.
bool hasPtxBf16(const Emitter& e) { return e.target.ptx >= 80; }
bool hasPtxFp8(const Emitter& e, DType dtype) {
  return e.target.ptx >= 89 && (dtype == DType::f8e4m3 || dtype == DType::f8e5m2);
}

Value decodePtxFp8(Emitter& e, DType from, Value code) {
  const mlir::Type pair = mlir::VectorType::get({2}, e.builder.getF16Type());
  const Value halves = e.intrinsic(
      from == DType::f8e4m3 ? "llvm.nvvm.e4m3x2.to.f16x2.rn" : "llvm.nvvm.e5m2x2.to.f16x2.rn", pair,
      {e.zeroExtend(code, e.i16())});
  return arith::ExtFOp::create(e.builder, e.loc, e.f32(), e.extract(halves, 0));
}

/// Exponent and mantissa as those of a tiny f32, subnormals among them, brought back by one exact
/// product: NVIDIA multiplies subnormals at full speed.
Value decodePtxFp4(Emitter& e, Value code) {
  const Value wide = e.zeroExtend(code, e.i32());
  const Value bits = e.ori(e.shl(e.andi(wide, 7), 22), e.shl(e.andi(wide, 8), 28));
  return e.mul(toFloat(e, bits), 0x1p126);
}

/// Two codes in one word, the first in its low half.
Value encodePtxFp8(Emitter& e, DType to, Value first, Value second) {
  return e.intrinsic(
      to == DType::f8e4m3 ? "llvm.nvvm.ff.to.e4m3x2.rn" : "llvm.nvvm.ff.to.e5m2x2.rn", e.i16(),
      {second, first});
}
Value encodePtxBf16(Emitter& e, Value first, Value second) {
  const mlir::Type pair = mlir::VectorType::get({2}, e.builder.getBF16Type());
  return e.bitcast(e.intrinsic("llvm.nvvm.ff2bf16x2.rn", pair, {second, first}), e.i32());
}

/// f16 rounded to odd: what is cut off stays visible in the last place, so that rounding once more
/// to a format two places shorter is right.
Value halfWithRest(Emitter& e, Value value) {
  const Value bits = toBits(e, value);
  const Value rest = e.compare(CmpIPredicate::ne, e.andi(bits, 0x1fff), constant32(e, bits, 0));
  const Value odd = toFloat(e, e.select(rest, e.ori(bits, 0x2000), bits));
  constexpr int64_t kTowardZero = 11;
  const int64_t width = e.target.lanes;
  const mlir::Type half = e.type(e.builder.getF16Type(), width);
  llvm::SmallVector<Value> parts;
  for (int64_t first = 0; first < Emitter::lanesOf(value); first += width)
    parts.push_back(e.bitcast(e.intrinsic("llvm.x86.avx512fp16.mask.vcvtps2phx.512", half,
                                          {e.slice(odd, first, width), e.constant(half, 0),
                                           e.integer(e.i16(), -1), e.i32(kTowardZero)}),
                              e.i16()));
  return e.concat(parts);
}

/// encodeSmall() for e4m3 in f16, twice as many lanes an instruction.
Value encodeE4m3InHalf(Emitter& e, Value value) {
  const Layout layout = layoutOf(DType::f8e4m3);
  const Value bits = halfWithRest(e, value);
  const auto number = [&](int64_t n) { return e.integer(bits.getType(), n); };
  const auto half = [&](Value words) { return e.bitcast(words, e.builder.getF16Type()); };
  constexpr int64_t kDrop = 7, kSmallest = 9;  // bits of mantissa too many; field of 2^-6
  const int64_t excess = kSmallest << layout.mantissaBits;
  const Value all = e.andi(bits, 0x7fff);
  const Value magnitude = e.minSigned(all, number(0x5f00));  // 448
  const Value exponent = e.maxSigned(e.andi(magnitude, 0x7c00), number(kSmallest << 10));
  const Value anchor = e.add(exponent, number(kDrop << 10));
  const Value anchored = e.bitcast(e.add(half(magnitude), half(anchor)), e.i16());
  Value code = e.add(e.sub(anchored, anchor), e.shr(exponent, kDrop));
  code = e.xori(code, e.andi(e.shr(bits, 8), 0x80));
  const Value isNan = e.compare(CmpIPredicate::sgt, all, number(0x7c00));
  code = e.truncate(e.select(isNan, number(layout.nan + excess), code), e.i8());
  return e.sub(code, e.integer(code.getType(), excess));
}

}  // namespace

Value decodeFloat(Emitter& e, DType from, Value code) {
  if (hasPtxFp8(e, from)) return decodePtxFp8(e, from, code);
  if (e.target.ptx > 0 && from == DType::f4e2m1) return decodePtxFp4(e, code);
  switch (from) {
    case DType::bf16: return decodeBf16(e, code);
    case DType::f8e8m0: return decodeScale(e, code);
    case DType::f16:
      if (hasF16(e)) {
        const Value half = e.bitcast(code, e.builder.getF16Type());
        return arith::ExtFOp::create(e.builder, e.loc, e.withElement(code, e.f32()), half);
      }
      [[fallthrough]];
    default: return decodeSmall(e, layoutOf(from), code);
  }
}

Value encodeFloat(Emitter& e, DType to, Value value) {
  if (hasPtxFp8(e, to))
    return e.truncate(encodePtxFp8(e, to, value, e.constant(e.f32(), 0)), e.i8());
  if (to == DType::bf16 && hasPtxBf16(e)) {
    const mlir::Type bf16 = e.withElement(value, e.builder.getBF16Type());
    return e.bitcast(arith::TruncFOp::create(e.builder, e.loc, bf16, value), e.i16());
  }
  switch (to) {
    case DType::bf16: return encodeBf16(e, value);
    case DType::f8e8m0: return encodeScale(e, value);
    case DType::f16:
      if (hasF16(e)) {
        const Value half = arith::TruncFOp::create(
            e.builder, e.loc, e.withElement(value, e.builder.getF16Type()), value);
        return e.bitcast(half, e.i16());
      }
      [[fallthrough]];
    default: break;
  }
  if (to == DType::f8e4m3 && e.target.hasFp16 && Emitter::lanesOf(value) % 32 == 0)
    return encodeE4m3InHalf(e, value);
  return encodeSmall(e, layoutOf(to), value);
}

std::optional<std::array<Value, 2>> encodePair(Emitter& e, DType to, Value first, Value second) {
  const auto halves = [&](Value word, mlir::Type code) {
    const auto width = static_cast<int64_t>(code.getIntOrFloatBitWidth());
    return std::array{e.truncate(word, code), e.truncate(e.shr(word, width), code)};
  };
  if (hasPtxFp8(e, to)) return halves(encodePtxFp8(e, to, first, second), e.i8());
  if (to == DType::bf16 && hasPtxBf16(e)) return halves(encodePtxBf16(e, first, second), e.i16());
  return std::nullopt;
}

Value convert(Emitter& e, DType from, DType to, Value value) {
  const mlir::Type element = laneType(e, to);
  const mlir::Type result = e.withElement(value, element);
  if (from == to) return value;
  if (from == DType::f32 && is_float(to)) return encodeFloat(e, to, value);
  if (to == DType::f32 && is_float(from)) return decodeFloat(e, from, value);
  if (from == DType::f32) {
    if (to == DType::u32) return arith::FPToUIOp::create(e.builder, e.loc, result, value);
    return arith::FPToSIOp::create(e.builder, e.loc, result, value);
  }
  const bool isUnsigned = from == DType::u8 || from == DType::u32 || from == DType::i1;
  if (to == DType::f32) {
    if (isUnsigned) return arith::UIToFPOp::create(e.builder, e.loc, result, value);
    return arith::SIToFPOp::create(e.builder, e.loc, result, value);
  }
  const unsigned before = Emitter::elementOf(value).getIntOrFloatBitWidth(),
                 after = element.getIntOrFloatBitWidth();
  if (after < before) return e.truncate(value, element);
  return isUnsigned ? e.zeroExtend(value, element) : e.signExtend(value, element);
}

}  // namespace tessera::compiler
