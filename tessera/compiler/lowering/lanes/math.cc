// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/lanes/math.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"

namespace tessera::compiler {

namespace arith = mlir::arith;
using arith::CmpFPredicate;
using arith::CmpIPredicate;
using mlir::Value;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Added and subtracted again, it rounds numbers below 2^22 to the nearest integer, which then
/// stands in the low bits.
constexpr double kRound = 12582912.0;

Value number(Emitter& e, Value like, double value) {
  return e.constant(e.withElement(like, e.f32()), value);
}
Value integer(Emitter& e, Value like, int64_t value) {
  return e.integer(e.withElement(like, e.i32()), value);
}
Value bitsOf(Emitter& e, Value x) { return e.bitcast(x, e.i32()); }
Value floatOf(Emitter& e, Value bits) { return e.bitcast(bits, e.f32()); }

/// c[0] + x (c[1] + x (c[2] + ..))
Value polynomial(Emitter& e, Value x, std::initializer_list<double> coefficients) {
  Value sum;
  for (auto c = std::rbegin(coefficients); c != std::rend(coefficients); ++c)
    sum = sum ? e.fma(sum, x, number(e, x, *c)) : number(e, x, *c);
  return sum;
}

/// Keeps NaN.
Value clamp(Emitter& e, Value x, double low, double high) {
  return maxFloat(e, minFloat(e, x, number(e, x, high)), number(e, x, low));
}

struct Rounded {
  Value number, shifted;  // f32; shifted = number + kRound
};
Rounded roundToInteger(Emitter& e, Value x, double factor = 1) {
  const Value anchor = number(e, x, kRound);
  const Value shifted = factor == 1 ? e.add(x, anchor) : e.fma(x, number(e, x, factor), anchor);
  return {e.sub(shifted, anchor), shifted};
}

/// An AVX-512 instruction of x and a second operand, which `second` gives for lanes of x from a
/// first one on, register by register.
Value byRegisters(Emitter& e, const std::string& instruction, Value x,
                  llvm::function_ref<Value(int64_t first, int64_t width)> second) {
  const int64_t lanes = Emitter::lanesOf(x), width = std::min<int64_t>(lanes, e.target.lanes);
  const mlir::Type type = e.type(e.f32(), width);
  const mlir::Type mask =
      e.builder.getIntegerType(static_cast<unsigned>(std::max<int64_t>(width, 8)));
  const std::string name =
      "llvm.x86.avx512.mask." + instruction + ".ps." + std::to_string(32 * width);
  llvm::SmallVector<Value> parts;
  for (int64_t first = 0; first < lanes; first += width) {
    const Value part = e.slice(x, first, width);
    llvm::SmallVector<Value> operands = {part, second(first, width), part, e.integer(mask, -1)};
    if (width == 16) operands.push_back(e.i32(4));  // rounding as everywhere
    parts.push_back(e.intrinsic(name, type, operands));
  }
  return e.concat(parts);
}

bool hasScaling(Emitter& e, Value x) { return e.target.hasAvx512 && Emitter::lanesOf(x) >= 4; }

/// x * 2^floor(n), for any n.
Value scaleRegisters(Emitter& e, Value x, Value n) {
  return byRegisters(e, "scalef", x,
                     [&](int64_t first, int64_t width) { return e.slice(n, first, width); });
}

/// x - floor(x); 0 for infinities.
Value fractionOfRegisters(Emitter& e, Value x) {
  constexpr int32_t kDown = 1;
  return byRegisters(e, "reduce", x, [&](int64_t, int64_t) { return e.i32(kDown); });
}

/// x * 2^n for n in [-252, 254], rounded once: the first factor stays in the range of normal
/// numbers.
Value scaleByPower(Emitter& e, Value x, Rounded power2) {
  if (hasScaling(e, x)) return scaleRegisters(e, x, power2.number);
  const Value n = e.sub(bitsOf(e, power2.shifted), bitsOf(e, number(e, x, kRound)));
  const Value half = e.sar(n, 1);
  const auto power = [&](Value exponent) {
    return floatOf(e, e.shl(e.add(exponent, integer(e, n, 127)), 23));
  };
  return e.mul(e.mul(x, power(half)), power(e.sub(n, half)));
}

/// exp(r) for |r| <= ln(2) / 2, its tail interpolated at Chebyshev's nodes: within 0.08 units in
/// the last place of 1, roundings aside.
Value expSmall(Emitter& e, Value r) {
  const Value tail =
      polynomial(e, r, {0.5, 1.6666577756e-1, 4.1666556150e-2, 8.3631742746e-3, 1.3926177053e-3});
  return e.add(e.fma(e.mul(r, r), tail, r), number(e, r, 1.0));
}

/// NVIDIA's function unit: 2^x and 1 / x within about an ulp.
bool hasSpecialFunctions(const Emitter& e) { return e.target.ptx > 0; }

/// exp(x) for any x: n, the nearest integer to x / ln 2 within [-126, 126], comes from a saturated
/// product, and 2^(x / ln 2 - n) from the function unit.
Value expSpecial(Emitter& e, Value x) {
  constexpr double kLog2e = 1.44269502162933349609375, kRest = 1.92596299112661746887e-8;
  constexpr int64_t kSpan = 252;  // -126 to 126
  const Value share = e.intrinsic("llvm.nvvm.fma.rn.sat.f", e.f32(),
                                  {x, number(e, x, kLog2e / kSpan), number(e, x, 0.5)});
  // The low byte is the exponent field of 2^n.
  const Value shifted = e.fma(share, number(e, x, kSpan), number(e, x, kRound + 1));
  const Value n = e.sub(shifted, number(e, x, kRound + 127));
  Value rest = arith::NegFOp::create(e.builder, e.loc, n);
  rest = e.fma(x, number(e, x, kRest), e.fma(x, number(e, x, kLog2e), rest));
  const Value power = e.intrinsic("llvm.nvvm.ex2.approx.ftz", e.f32(), {rest});
  return e.mul(power, floatOf(e, e.shl(bitsOf(e, shifted), 23)));
}

/// exp(x) times 2^0; shared by exp and sigmoid.
Value expClamped(Emitter& e, Value x) {
  const Rounded n = roundToInteger(e, x, std::numbers::log2e);
  // ln 2 in two parts, the first of 9 bits: its product with n is exact, with and without FMA.
  Value r = e.fma(n.number, number(e, x, -0.693359375), x);
  r = e.fma(n.number, number(e, x, 2.12194440e-4), r);
  return scaleByPower(e, expSmall(e, r), n);
}

/// sqrt(x) / 2^k .. splits a positive x into m in [sqrt(1/2), sqrt(2)) and an exponent.
struct Split {
  Value mantissa, exponent;  // f32, f32
};
Split splitPowers(Emitter& e, Value x) {
  const Value isTiny = e.compare(CmpFPredicate::OLT, x, number(e, x, std::ldexp(1.0, -126)));
  const Value scaled = e.select(isTiny, e.mul(x, number(e, x, 8388608.0)), x);
  const Value offset = e.select(isTiny, integer(e, x, 23), integer(e, x, 0));
  constexpr int64_t kSqrtHalf = 0x3f3504f3;
  const Value shifted = e.sub(bitsOf(e, scaled), integer(e, x, kSqrtHalf));
  const Value exponent = e.sub(e.sar(shifted, 23), offset);
  const Value mantissa = floatOf(e, e.add(e.andi(shifted, 0x7fffff), integer(e, x, kSqrtHalf)));
  return {mantissa, arith::SIToFPOp::create(e.builder, e.loc, x.getType(), exponent)};
}

/// log(x) for a positive finite x.
Value logPositive(Emitter& e, Value x) {
  const Split parts = splitPowers(e, x);
  const Value f = e.sub(parts.mantissa, number(e, x, 1.0));
  const Value tail = polynomial(
      e, f,
      {3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1,
       -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2});
  const Value square = e.mul(f, f);
  Value y = e.mul(e.mul(f, square), tail);
  y = e.fma(parts.exponent, number(e, x, -2.12194440e-4), y);
  y = e.fma(square, number(e, x, -0.5), y);
  return e.fma(parts.exponent, number(e, x, 0.693359375), e.add(f, y));
}

/// What log gives for 0, negative numbers, infinity and NaN.
Value fixLog(Emitter& e, Value x, Value y) {
  y = e.select(e.compare(CmpFPredicate::OEQ, x, number(e, x, kInfinity)), x, y);
  y = e.select(e.compare(CmpFPredicate::OEQ, x, number(e, x, 0)), number(e, x, -kInfinity), y);
  const Value isBad = e.compare(CmpFPredicate::ULT, x, number(e, x, 0));
  return e.select(isBad, number(e, x, std::numeric_limits<double>::quiet_NaN()), y);
}

/// sin(x + quarter * pi / 2). The reduction is done in f64: exact enough up to 2^20 without FMA
/// too.
Value sinShifted(Emitter& e, Value x, int64_t quarter) {
  const mlir::Type f64 = e.builder.getF64Type();
  const mlir::Type wideType = e.withElement(x, f64);
  const auto wideNumber = [&](double value) { return e.constant(wideType, value); };
  const Value wide = arith::ExtFOp::create(e.builder, e.loc, wideType, x);
  constexpr double kRoundWide = 6755399441055744.0;
  const Value shifted =
      e.add(e.mul(wide, wideNumber(2 / std::numbers::pi)), wideNumber(kRoundWide));
  const Value n = e.sub(shifted, wideNumber(kRoundWide));
  // pi / 2 in two parts, the first of 33 bits.
  constexpr double kHigh = 0x1.921fb544p+0, kLow = 0x1.0b4611a626331p-34;
  Value wideRest = e.sub(wide, e.mul(n, wideNumber(kHigh)));
  wideRest = e.sub(wideRest, e.mul(n, wideNumber(kLow)));
  const Value r = arith::TruncFOp::create(e.builder, e.loc, x.getType(), wideRest);
  const Value turns = e.truncate(e.bitcast(shifted, e.i64()), e.i32());
  const Value quadrant = e.add(turns, integer(e, x, quarter));

  const Value square = e.mul(r, r);
  const Value sinTail =
      polynomial(e, square, {-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4});
  const Value sine = e.fma(e.mul(square, r), sinTail, r);
  const Value cosTail =
      polynomial(e, square, {4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5});
  const Value cosine =
      e.fma(e.mul(square, square), cosTail, e.fma(square, number(e, x, -0.5), number(e, x, 1.0)));

  const Value isOdd = e.compare(CmpIPredicate::ne, e.andi(quadrant, 1), integer(e, x, 0));
  const Value sign = e.shl(e.andi(quadrant, 2), 30);
  return floatOf(e, e.xori(bitsOf(e, e.select(isOdd, cosine, sine)), sign));
}

}  // namespace

Value divide(Emitter& e, Value a, Value b) {
  return e.builder.createOrFold<arith::DivFOp>(e.loc, a, b);
}

Value emitSqrt(Emitter& e, Value x) { return mlir::math::SqrtOp::create(e.builder, e.loc, x); }

Value emitExp(Emitter& e, Value x) {
  if (hasSpecialFunctions(e)) return expSpecial(e, x);
  return expClamped(e, clamp(e, x, -104.0, 89.0));
}

/// 2^f by a polynomial through Chebyshev's nodes, within 5.3e-9: an ulp with its roundings. With
/// the instructions of AVX-512 f is in [0, 1) and nothing needs clamping, else in [-1/2, 1/2].
/// NVIDIA's GPUs have an instruction, within 2 ulp by its manual.
Value emitExp2(Emitter& e, Value x) {
  if (hasSpecialFunctions(e)) return e.intrinsic("llvm.nvvm.ex2.approx", e.f32(), {x});
  if (hasScaling(e, x)) {
    const Value power = polynomial(e, fractionOfRegisters(e, x),
                                   {1.0, 6.9314717086e-1, 2.4022720418e-1, 5.5496023564e-2,
                                    9.6521950560e-3, 1.2692166069e-3, 2.0817915044e-4});
    return scaleRegisters(e, power, x);
  }
  const Value clamped = clamp(e, x, -151.0, 129.0);
  const Rounded n = roundToInteger(e, clamped);
  const Value power = polynomial(e, e.sub(clamped, n.number),
                                 {1.0, 6.9314718803e-1, 2.4022650761e-1, 5.5503571142e-2,
                                  9.6180825573e-3, 1.3390863365e-3, 1.5453162945e-4});
  return scaleByPower(e, power, n);
}

Value emitLog(Emitter& e, Value x) { return fixLog(e, x, logPositive(e, x)); }

/// log(u) x / (u - 1) with u = 1 + x rounded: the quotient makes up for the rounding.
Value emitLog1p(Emitter& e, Value x) {
  const Value one = number(e, x, 1.0);
  const Value u = e.add(x, one);
  const Value isTiny = e.compare(CmpFPredicate::OEQ, u, one);
  const Value distance = e.select(isTiny, one, e.sub(u, one));
  const Value corrected = e.mul(logPositive(e, u), divide(e, x, distance));
  return e.select(isTiny, x, fixLog(e, u, corrected));
}

/// NVIDIA's 1 / d within a unit in the last place, where neither is a subnormal number.
Value reciprocal(Emitter& e, Value d) {
  return e.intrinsic("llvm.nvvm.rcp.approx.ftz.f", e.f32(), {d});
}

/// 1 / d for d in [1, 2] within a unit in the last place.
Value reciprocalNearOne(Emitter& e, Value d) {
  const Value negative = arith::NegFOp::create(e.builder, e.loc, d);
  // Within 1 / 99 (Chebyshev's third polynomial); each step squares that.
  Value r = polynomial(e, d, {210.0 / 99, -144.0 / 99, 32.0 / 99});
  for (int step = 0; step < 2; ++step) r = e.fma(r, e.fma(negative, r, number(e, d, 1.0)), r);
  return r;
}

/// What x is at most where that stands in the code: infinity where it does not.
double mostOf(Value x) {
  auto least = x.getDefiningOp<arith::MinimumFOp>();
  llvm::APFloat bound(0.0F);
  if (!least || !mlir::matchPattern(least.getRhs(), mlir::m_ConstantFloat(&bound)))
    return kInfinity;
  return bound.convertToFloat();
}

/// exp(x) / (1 + exp(x)): 1 where x is large, and what is small keeps its precision.
Value sigmoidSpecial(Emitter& e, Value x) {
  constexpr double kLarge = 80;  // 1 / (1 + exp(x)) is no subnormal number
  const Value power = expSpecial(e, mostOf(x) <= kLarge ? x : minFloat(e, x, number(e, x, kLarge)));
  return e.mul(power, reciprocal(e, e.add(number(e, x, 1.0), power)));
}

/// 1 / (1 + exp(-x)), for negative x as exp(x) / (1 + exp(x)): no overflow, and small results keep
/// their precision.
Value emitSigmoid(Emitter& e, Value x) {
  if (hasSpecialFunctions(e)) return sigmoidSpecial(e, x);
  const Value one = number(e, x, 1.0);
  const Value negative = floatOf(e, e.ori(bitsOf(e, x), integer(e, x, INT32_MIN)));
  const Value power = expClamped(e, maxFloat(e, negative, number(e, x, -104.0)));
  const Value isNegative = e.compare(CmpFPredicate::OLT, x, number(e, x, 0));
  const Value above = e.select(isNegative, power, one), below = e.add(one, power);
  // Processors divide beside other arithmetic; elsewhere multiply-adds are faster.
  const bool divides = e.target.isX86 || !e.target.hasFma;
  return divides ? divide(e, above, below) : e.mul(above, reciprocalNearOne(e, below));
}

Value emitSin(Emitter& e, Value x) { return sinShifted(e, x, 0); }
Value emitCos(Emitter& e, Value x) { return sinShifted(e, x, 1); }

namespace {

/// A constant that compares unequal to whatever has other bits: neither zero nor NaN.
bool isPlainConstant(Value value) {
  mlir::DenseElementsAttr lanes;
  llvm::APFloat number(0.0F);
  if (mlir::matchPattern(value, mlir::m_Constant(&lanes)) && lanes.isSplat())
    number = lanes.getSplatValue<llvm::APFloat>();
  else if (!mlir::matchPattern(value, mlir::m_ConstantFloat(&number)))
    return false;
  return !number.isNaN() && !number.isZero();
}

/// NVIDIA's min.NaN and max.NaN.
bool hasNanMinMax(const Emitter& e) { return e.target.ptx >= 80; }

/// The one for which `beats` holds, NaN if one operand is.
Value pick(Emitter& e, CmpFPredicate beats, Value a, Value b) {
  // One instruction of processors: it gives its second operand when the two do not compare.
  if (isPlainConstant(b)) return e.select(e.compare(beats, b, a), b, a);
  const Value better = e.select(e.compare(beats, a, b), a, b);
  return e.select(e.compare(CmpFPredicate::UNO, a, a), a, better);
}

}  // namespace

Value minFloat(Emitter& e, Value a, Value b) {
  if (hasNanMinMax(e)) return arith::MinimumFOp::create(e.builder, e.loc, a, b);
  return pick(e, CmpFPredicate::OLT, a, b);
}

Value maxFloat(Emitter& e, Value a, Value b) {
  if (hasNanMinMax(e)) return arith::MaximumFOp::create(e.builder, e.loc, a, b);
  return pick(e, CmpFPredicate::OGT, a, b);
}

}  // namespace tessera::compiler
