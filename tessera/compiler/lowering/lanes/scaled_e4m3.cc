// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/lanes/scaled_e4m3.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace tessera::compiler {

using mlir::Value;
using mlir::arith::CmpIPredicate;

namespace {

constexpr int64_t kLanes = 32;  // of 16 bits in a register
constexpr int64_t kInfinity = 0x7f80;
/// Magnitudes of the product: exponent as f16 has it, mantissa as bf16 has it.
constexpr int64_t kNormal = 9 << 7;          // 2^-6, the smallest normal number of e4m3
constexpr int64_t kMost = (23 << 7) + 0x60;  // 448
constexpr int64_t kMostCode = 0x7e, kNan = 0x7f;

/// What rounds the last four bits to nearest even when they are cut off, picked by five bits, and
/// what makes the exponent that of e4m3.
Value roundNormal(Emitter& e, Value magnitude) {
  llvm::SmallVector<int64_t> table(kLanes);
  for (int64_t i = 0; i < kLanes; ++i) table[i] = 7 + i / 16 - (8 << 7);
  const Value entries = e.integers(e.i16(), table);
  llvm::SmallVector<Value> parts;
  for (int64_t first = 0; first < Emitter::lanesOf(magnitude); first += kLanes)
    parts.push_back(e.intrinsic("llvm.x86.avx512.permvar.hi.512", entries.getType(),
                                {entries, e.slice(magnitude, first, kLanes)}));
  return e.shr(e.add(magnitude, e.concat(parts)), 4);
}

/// The last place of f16 from 2 to 4 is 2^-9, that of e4m3 below 2^-6: the code is the sum's low
/// byte.
Value roundSubnormal(Emitter& e, Value magnitude) {
  const Value half = e.bitcast(e.shl(magnitude, 3), e.builder.getF16Type());
  return e.bitcast(e.add(half, 2.0), e.i16());
}

/// Low or high bytes of words. One permutation of two registers where there is one for bytes; LLVM
/// would make the low ones by three.
Value bytesOf(Emitter& e, Value words, bool high) {
  constexpr int64_t kBytes = 2 * kLanes;
  if (!e.target.hasVbmi || Emitter::lanesOf(words) % kBytes != 0)
    return e.truncate(high ? e.shr(words, 8) : words, e.i8());
  llvm::SmallVector<int64_t> picked(kBytes);
  for (int64_t i = 0; i < kBytes; ++i) picked[i] = 2 * i + (high ? 1 : 0);
  const Value index = e.integers(e.i8(), picked);
  llvm::SmallVector<Value> parts;
  for (int64_t first = 0; first < Emitter::lanesOf(words); first += kBytes) {
    const auto half = [&](int64_t from) { return e.bitcast(e.slice(words, from, kLanes), e.i8()); };
    parts.push_back(e.intrinsic("llvm.x86.avx512.vpermi2var.qi.512", index.getType(),
                                {half(first), index, half(first + kLanes)}));
  }
  return e.concat(parts);
}

}  // namespace

bool canScaleE4m3(const CpuTarget& target, int64_t lanes) {
  return target.hasFp16 && lanes % kLanes == 0;
}

Value encodeScaledE4m3(Emitter& e, Value numbers, Value scale) {
  const int64_t lanes = Emitter::lanesOf(numbers);
  const auto word = [&](int64_t n) { return e.integer(e.type(e.i16(), lanes), n); };
  const auto all = [&](Value value) {
    return Emitter::lanesOf(value) == lanes ? value : e.splat(value, lanes);
  };
  // A scale of 2^0 makes the exponent's bias that of f16; less than nothing is less than 2^-14.
  const Value field = e.truncate(e.shr(scale, 16), e.i16());
  const Value shift = e.sub(e.integer(field.getType(), kMostScaleExponent << 7), field);
  // The largest magnitude that stays below infinity and whose product does not exceed 448.
  const Value most = e.builder.createOrFold<mlir::arith::MinUIOp>(
      e.loc, e.add(shift, e.integer(shift.getType(), kMost)),
      e.integer(shift.getType(), kInfinity - 1));
  const Value unsignedBits = e.andi(numbers, 0x7fff);
  const Value magnitude = mlir::LLVM::USubSat::create(e.builder, e.loc, unsignedBits, all(shift));
  Value code = e.select(e.compare(CmpIPredicate::ult, magnitude, word(kNormal)),
                        roundSubnormal(e, magnitude), roundNormal(e, magnitude));
  code = e.select(e.compare(CmpIPredicate::ugt, unsignedBits, all(most)), word(kMostCode), code);
  const Value sign = bytesOf(e, numbers, /*high=*/true);
  code = e.ori(bytesOf(e, code, /*high=*/false), e.andi(sign, 0x80));
  const Value isNan = e.compare(CmpIPredicate::ugt, unsignedBits, word(kInfinity));
  return e.select(isNan, e.integer(code.getType(), kNan), code);
}

}  // namespace tessera::compiler
