// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/correct_rounding.h"

#include "mlir/Dialect/Math/IR/Math.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using arith::CmpIPredicate;
using mlir::Value;

namespace {

constexpr int64_t kFraction = (1 << 23) - 1, kOne = 127 << 23, kLeastNormal = 1 << 23;
/// How far off the approximations may be, in units of the last place.
constexpr int kUnits = 3;

/// An integer, and the remainder it leaves: of 32 bits, which hold it exactly wherever the integer
/// is as near as it must be, though the numbers it is the difference of have 48.
struct Guess {
  Value integer, remainder;
};

/// Bits of a positive normal number below infinity.
Value isNormal(Emitter& e, Value magnitude) {
  return e.compare(CmpIPredicate::ult, e.sub(magnitude, kLeastNormal),
                   e.i32(0x7f800000 - kLeastNormal));
}
/// The significand of 24 bits of a normal number.
Value significand(Emitter& e, Value bits) { return e.ori(e.andi(bits, kFraction), kLeastNormal); }

/// The guess, or the next integer up or down, which leaves another remainder.
Guess step(Emitter& e, const Guess& now, Value tooLarge, Value tooSmall, const Guess& below,
           const Guess& above) {
  const auto choose = [&](Value same, Value down, Value up) {
    return e.select(tooLarge, down, e.select(tooSmall, up, same));
  };
  return {choose(now.integer, below.integer, above.integer),
          choose(now.remainder, below.remainder, above.remainder)};
}

}  // namespace

Value roundedQuotient(Emitter& e, Value a, Value b,
                      llvm::function_ref<Value(Value, Value)> divide) {
  const Value a_bits = e.bitcast(a, e.i32()), b_bits = e.bitcast(b, e.i32());
  const Value a_abs = e.andi(a_bits, 0x7fffffff), b_abs = e.andi(b_bits, 0x7fffffff);
  const Value m = significand(e, a_bits), n = significand(e, b_bits);
  const auto between1And2 = [&](Value bits) {
    return e.bitcast(e.ori(e.andi(bits, kFraction), kOne), e.f32());
  };
  // The quotient's significand is (m 2^shift) / n, in [2^23, 2^24).
  const Value less = e.compare(CmpIPredicate::ult, m, n);
  const Value near = e.mul(divide(between1And2(a_bits), between1And2(b_bits)),
                           e.select(less, e.f32(0x1p24f), e.f32(0x1p23f)));
  const Value q = e.builder.createOrFold<arith::FPToSIOp>(e.loc, e.i32(), near);
  const Value scaled = e.select(less, e.shl(m, 24), e.shl(m, 23));
  Guess guess{q, e.sub(scaled, e.mul(q, n))};
  for (int i = 0; i < kUnits + 1; ++i) {  // one more: the conversion cuts
    const Value twice = e.shl(guess.remainder, 1);
    guess = step(e, guess, e.compare(CmpIPredicate::slt, twice, e.sub(e.i32(0), n)),
                 e.compare(CmpIPredicate::sgt, twice, n),
                 {e.sub(guess.integer, 1), e.add(guess.remainder, n)},
                 {e.add(guess.integer, 1), e.sub(guess.remainder, n)});
  }
  const Value exponent = e.add(e.sub(e.shr(a_abs, 23), e.shr(b_abs, 23)),
                               e.select(less, e.i32(126), e.i32(127)));  // biased
  const Value sign = e.andi(e.xori(a_bits, b_bits), int64_t{1} << 31);
  const Value bits = e.ori(e.add(e.shl(e.sub(exponent, 1), 23), guess.integer), sign);
  const Value normal = e.andi(e.andi(isNormal(e, a_abs), isNormal(e, b_abs)),
                              e.compare(CmpIPredicate::ult, e.sub(exponent, 1), e.i32(254)));
  return e.select(normal, e.bitcast(bits, e.f32()), divide(a, b));
}

Value roundedRoot(Emitter& e, Value x, llvm::function_ref<Value(Value)> root) {
  const Value bits = e.bitcast(x, e.i32());
  // x = m 2^(2 half), m in [1, 4); the root's significand is the root of m 2^46.
  const Value exponent = e.sub(e.shr(bits, 23), 127);
  const Value odd = e.andi(exponent, 1), half = e.sar(exponent, 1);
  const Value m =
      e.bitcast(e.ori(e.andi(bits, kFraction), e.add(e.shl(odd, 23), e.i32(kOne))), e.f32());
  const Value s =
      e.builder.createOrFold<arith::FPToSIOp>(e.loc, e.i32(), e.mul(root(m), e.f32(0x1p23f)));
  const Value whole = significand(e, bits);
  const Value scaled =
      e.select(e.compare(CmpIPredicate::ne, odd, e.i32(0)), e.shl(whole, 24), e.shl(whole, 23));
  Guess guess{s, e.sub(scaled, e.mul(s, s))};
  for (int i = 0; i < kUnits + 1; ++i) {
    // (s - 1/2)^2 < m 2^46 < (s + 1/2)^2 where -s < remainder <= s.
    const Value twice = e.shl(guess.integer, 1);
    guess = step(e, guess,
                 e.compare(CmpIPredicate::sle, guess.remainder, e.sub(e.i32(0), guess.integer)),
                 e.compare(CmpIPredicate::sgt, guess.remainder, guess.integer),
                 {e.sub(guess.integer, 1), e.add(guess.remainder, e.sub(twice, 1))},
                 {e.add(guess.integer, 1), e.sub(guess.remainder, e.add(twice, 1))});
  }
  const Value rounded = e.add(e.shl(e.add(half, 126), 23), guess.integer);
  return e.select(isNormal(e, bits), e.bitcast(rounded, e.f32()), root(x));
}

void roundCorrectly(mlir::func::FuncOp function, const CpuTarget& target) {
  llvm::SmallVector<mlir::Operation*> all;
  function.walk([&](mlir::Operation* op) {
    if (llvm::isa<arith::DivFOp, mlir::math::SqrtOp>(op) && op->getResult(0).getType().isF32())
      all.push_back(op);
  });
  for (mlir::Operation* op : all) {
    mlir::OpBuilder builder(op);
    Emitter e(builder, op->getLoc(), target, &function.front());
    Value rounded;
    if (auto division = llvm::dyn_cast<arith::DivFOp>(op))
      rounded = roundedQuotient(e, division.getLhs(), division.getRhs(), [&](Value a, Value b) {
        return arith::DivFOp::create(builder, e.loc, a, b).getResult();
      });
    else
      rounded = roundedRoot(e, op->getOperand(0), [&](Value x) {
        return mlir::math::SqrtOp::create(builder, e.loc, x).getResult();
      });
    op->replaceAllUsesWith(mlir::ValueRange(rounded));
    op->erase();
  }
}

}  // namespace tessera::compiler::simt
