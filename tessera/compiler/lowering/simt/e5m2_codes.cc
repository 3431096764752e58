// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/e5m2_codes.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Value;
using mlir::arith::CmpIPredicate;

namespace {

/// Exponent that is added to the largest block: 6 becomes 1.5 x 2^15. The smallest one's 0.5 is
/// 2^-14, the smallest normal number.
constexpr int64_t kExponent = 13;
constexpr int64_t kNanScale = 255;

/// e5m2 by magnitude: 0, 0.5, 1, 1.5 and 2, 3, 4, 6; one more in the exponent of all but 0.
constexpr int64_t kCodes[2] = {0x3e3c3800, 0x46444240}, kTwice[2] = {0x04040400, 0x04040404};
constexpr int64_t kNans = 0x7f7f7f7f;

Value permute(Emitter& e, Value a, Value b, Value selector) {
  return e.intrinsic("llvm.nvvm.prmt", e.i32(), {a, b, selector});
}

}  // namespace

Value scaleThatCounts(Emitter& e, mlir::ValueRange words, Value scale) {
  Value any = words[0];
  for (Value word : words.drop_front()) any = e.ori(any, word);
  const Value counts = e.compare(CmpIPredicate::ne, e.andi(any, 0x77777777), e.i32(0));
  const Value number = e.compare(CmpIPredicate::ne, scale, e.i32(kNanScale));
  return e.select(e.andi(counts, number), scale, e.i32(0));
}

Value e5m2Factor(Emitter& e, Value largest) {
  // 2^(largest - 127) in two factors: the first is never subnormal, their product may be.
  const Value half = e.shr(largest, 1);
  const auto power = [&](Value exponent) {
    return e.bitcast(e.shl(e.add(exponent, e.i32(127 - 63)), 23), e.f32());
  };
  return e.mul(e.mul(power(half), 0x1p-14), power(e.sub(largest, half)));
}

SmallVector<Value> e5m2OfE2m1(Emitter& e, mlir::ValueRange words, Value scale, Value largest) {
  // A block of zeros may have a larger scale: its codes stay zeros.
  const Value exponent = e.add(e.sub(scale, largest), e.i32(kExponent));
  const Value below = e.compare(CmpIPredicate::slt, exponent, e.i32(-kExponent));
  const Value nan = e.compare(CmpIPredicate::eq, scale, e.i32(kNanScale));
  SmallVector<Value> tables;
  for (auto [codes, twice] : llvm::zip(kCodes, kTwice)) {
    const Value scaled = e.add(e.i32(codes), e.mul(exponent, e.i32(twice)));
    tables.push_back(e.select(nan, e.i32(kNans), e.select(below, e.i32(0), scaled)));
  }
  SmallVector<Value> made;
  for (Value word : words) {
    const Value magnitudes = e.andi(word, 0x77777777), evenSigns = e.shl(word, 4);
    for (int half = 0; half < 2; ++half) {
      const Value codes = half == 0 ? magnitudes : e.shr(magnitudes, 16);
      // The sign of an odd code is the top of its byte already.
      const Value signs = permute(e, evenSigns, word, e.i32(half == 0 ? 0x5140 : 0x7362));
      made.push_back(e.ori(permute(e, tables[0], tables[1], codes), e.andi(signs, 0x80808080)));
    }
  }
  return made;
}

}  // namespace tessera::compiler::simt
