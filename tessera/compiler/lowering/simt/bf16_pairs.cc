// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/bf16_pairs.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/simt/inline_ptx.h"

namespace tessera::compiler::simt {

namespace LLVM = mlir::LLVM;
using llvm::SmallVector;
using mlir::Value;

namespace {

/// One that gives a word.
Value instruction(Emitter& e, llvm::StringRef text, llvm::StringRef constraints,
                  mlir::ValueRange operands) {
  return inlinePtx(e.builder, e.loc, e.i32(), text, constraints, operands, Effects::kNone)
      .getResult(0);
}

/// Bytes of b (4 to 7) and a (0 to 3), picked by the four nibbles of `selector`.
Value permute(Emitter& e, Value a, Value b, Value selector) {
  return e.intrinsic("llvm.nvvm.prmt", e.i32(), {a, b, selector});
}
Value permute(Emitter& e, Value a, Value b, int64_t selector) {
  return permute(e, a, b, e.i32(selector));
}

/// Bytes of the codes' bf16 numbers, by magnitude: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
constexpr int64_t kHighBytes[2] = {0x3f3f3f00, 0x40404040};
constexpr int64_t kLowBytes[2] = {0xc0800000, 0xc0804000};

/// Eight codes: the bytes of four numbers by a look-up each, the sign into the upper ones, and then
/// bytes side by side.
SmallVector<Value> fromE2m1(Emitter& e, Value word) {
  SmallVector<Value> pairs;
  const Value magnitudes = e.andi(word, 0x77777777), evenSigns = e.shl(word, 4);
  for (int half = 0; half < 2; ++half) {
    const Value codes = half == 0 ? magnitudes : e.shr(magnitudes, 16);
    const Value low = permute(e, e.i32(kLowBytes[0]), e.i32(kLowBytes[1]), codes);
    // The sign of an odd code is the top of its byte already.
    const Value signs = permute(e, evenSigns, word, half == 0 ? 0x5140 : 0x7362);
    const Value high = e.ori(permute(e, e.i32(kHighBytes[0]), e.i32(kHighBytes[1]), codes),
                             e.andi(signs, 0x80808080));
    pairs.push_back(permute(e, low, high, 0x5140));
    pairs.push_back(permute(e, low, high, 0x7362));
  }
  return pairs;
}

/// Exponent and mantissa moved to where bf16 has them are 2^-120 of the number. A NaN makes all
/// four numbers NaN: they are of one row, whose sum it spoils anyway.
SmallVector<Value> fromE4m3(Emitter& e, Value word) {
  SmallVector<Value> pairs;
  const Value zero = e.i32(0);
  // Of the magnitudes NaN's alone, 0x7f, reaches bit 7 when one is added.
  const Value above = e.andi(e.add(e.andi(word, 0x7f7f7f7f), e.i32(0x01010101)), 0x80808080);
  const Value factor = e.select(e.compare(mlir::arith::CmpIPredicate::eq, above, zero),
                                e.i32(0x7b807b80), e.i32(0x7fc07fc0));  // 2^120; NaN
  for (int64_t selector : {0x1404, 0x3424}) {
    const Value upper = permute(e, word, zero, selector);
    const Value bits = e.ori(e.andi(upper, 0x80008000), e.andi(e.shr(upper, 4), 0x07f007f0));
    pairs.push_back(multiplyPairs(e, bits, factor));
  }
  return pairs;
}

}  // namespace

SmallVector<Value> bf16Pairs(Emitter& e, DType dtype, Value word) {
  switch (dtype) {
    case DType::bf16: return {word};
    case DType::f8e4m3: return fromE4m3(e, word);
    case DType::f4e2m1: return fromE2m1(e, word);
    default: TESSERA_UNREACHABLE("{} is not exact in bf16", name(dtype));
  }
}

/// As a vector of bf16: two roundings into one are one instruction.
Value pairOf(Emitter& e, Value low, Value high) {
  const mlir::Type bf16 = e.builder.getBF16Type();
  Value pair = LLVM::UndefOp::create(e.builder, e.loc, mlir::VectorType::get({2}, bf16));
  for (int64_t lane : {0, 1})
    pair = LLVM::InsertElementOp::create(e.builder, e.loc, pair,
                                         e.bitcast(lane == 0 ? low : high, bf16), e.i32(lane));
  return e.bitcast(pair, e.i32());
}

Value scalePair(Emitter& e, Value code) {
  // 0 is 2^-127, a subnormal, and 255 is NaN: both have bit 6 set.
  const Value wide = e.zeroExtend(code, e.i32());
  const Value ends =
      e.compare(mlir::arith::CmpIPredicate::ult, e.andi(e.add(wide, e.i32(1)), 0xff), e.i32(2));
  const Value one = e.ori(e.shl(wide, 7), e.select(ends, e.i32(0x40), e.i32(0)));
  return e.ori(one, e.shl(one, 16));
}

Value multiplyPairs(Emitter& e, Value a, Value b) {
  // Chips before sm_90 have no multiplication of pairs; adding -0 changes nothing.
  return instruction(e, "fma.rn.bf16x2 $0, $1, $2, $3;", "=r,r,r,r", {a, b, e.i32(0x80008000)});
}

Value nonNegativePair(Emitter& e, Value low, Value high) {
  return instruction(e, "cvt.rn.relu.bf16x2.f32 $0, $1, $2;", "=r,f,f", {high, low});
}

Value maxPairs(Emitter& e, Value a, Value b) {
  return instruction(e, "max.NaN.bf16x2 $0, $1, $2;", "=r,r,r", {a, b});
}

Value minPairs(Emitter& e, Value a, Value b) {
  return instruction(e, "min.NaN.bf16x2 $0, $1, $2;", "=r,r,r", {a, b});
}

std::array<Value, 2> widenPair(Emitter& e, Value pair) {
  return {e.bitcast(e.shl(pair, 16), e.f32()), e.bitcast(e.andi(pair, 0xffff0000), e.f32())};
}

Value pairAround(Value low, Value high) {
  namespace arith = mlir::arith;
  auto first = low.getDefiningOp<arith::TruncIOp>(), second = high.getDefiningOp<arith::TruncIOp>();
  auto shifted = second ? second.getIn().getDefiningOp<arith::ShRUIOp>() : arith::ShRUIOp();
  const bool isWord = first && shifted && first.getIn() == shifted.getLhs() &&
                      first.getIn().getType().isInteger(32) &&
                      Emitter::asConstant(shifted.getRhs()) == 16;
  return isWord ? first.getIn() : Value();
}

/// What is below a number, in magnitude, is cut off behind the upper half: never all of it.
std::array<Value, 3> bf16Parts(Emitter& e, Value first, Value second) {
  constexpr int64_t kUpperHalf = 0xffff0000, kUpperHalves = 0x7632;
  std::array<Value, 2> rest = {first, second};
  std::array<Value, 3> parts;
  for (Value& pair : llvm::MutableArrayRef(parts).drop_back()) {
    std::array<Value, 2> below;
    for (auto [left, part] : llvm::zip(rest, below)) {
      const Value number = e.bitcast(left, e.f32());
      const Value counts = e.compare(mlir::arith::CmpFPredicate::UNE, number, e.f32(0));
      part = e.add(left, e.signExtend(counts, e.i32()));
      const Value upper = e.bitcast(e.andi(part, kUpperHalf), e.f32());
      left = e.bitcast(e.sub(number, upper), e.i32());
    }
    pair = permute(e, below[0], below[1], kUpperHalves);
  }
  parts.back() = permute(e, rest[0], rest[1], kUpperHalves);
  return parts;
}

}  // namespace tessera::compiler::simt
