// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_decode.h"

#include <bit>
#include <cmath>

#include "tessera/base/check.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

int64_t bf16Bits(double value) { return std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16; }

double e2m1(int code) {
  const int exponent = (code >> 1) & 3, mantissa = code & 1;
  const double magnitude =
      exponent == 0 ? 0.5 * mantissa : std::ldexp(1 + 0.5 * mantissa, exponent - 1);
  return code & 8 ? -magnitude : magnitude;
}

double e4m3Magnitude(int code) {
  const int exponent = code >> 3, mantissa = code & 7;
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
}

constexpr int64_t kBf16Nan = 0x7fc0;
constexpr int kFp4Bias = 125;  // the folded table holds e2m1 * 2^125
constexpr int kFp8Bias = 119;  // the folded tables hold e4m3 * 2^119

}  // namespace

Decoder::Kind Decoder::kindOf(const Emitter& e, DType dtype, DotForm form, int64_t lanes) {
  const bool whole = lanes == 16 && e.target.hasAvx512;
  switch (dtype) {
    case DType::i8: return Kind::kExtendI8;
    case DType::bf16: return form == DotForm::kBf16 ? Kind::kLoad : Kind::kBf16;
    case DType::f8e4m3:
      if (form == DotForm::kF32) return Kind::kFp8Shift;
      return whole && e.target.hasVbmi ? Kind::kFp8Table : Kind::kFp8Extend;
    case DType::f4e2m1:
      if (form == DotForm::kF32) return whole ? Kind::kFp4Lookup : Kind::kFp4Shift;
      TESSERA_CHECK(whole);
      return Kind::kFp4Table;
    default: return Kind::kLoad;
  }
}

Decoder::Decoder(Emitter& e, DType dtype, DotForm form, int64_t lanes)
    : e_(e), dtype_(dtype), form_(form), lanes_(lanes), kind_(kindOf(e, dtype, form, lanes)) {
  const int64_t width = this->width();
  int64_t vectors = 1;
  switch (kind_) {
    case Kind::kLoad:
    case Kind::kExtendI8:
    case Kind::kFp8Extend: break;
    case Kind::kBf16:
    case Kind::kFp8Table: vectors = 2; break;
    case Kind::kFp8Shift:
    case Kind::kFp4Table: vectors = 4; break;
    case Kind::kFp4Shift:
    case Kind::kFp4Lookup: vectors = 8; break;
  }
  step_ = vectors * width;
  for (int64_t v = 0; v < vectors; ++v)
    for (int64_t lane = 0; lane < width; ++lane) {
      // Unpacking bytes works on 16 of them at a time: the lower eight of each, then the upper
      // eight.
      const bool unpacked = kind_ == Kind::kFp8Table;
      order_.push_back(unpacked ? lane / 8 * 16 + v * 8 + lane % 8 : lane * vectors + v);
    }
}

bool Decoder::isNatural() const {
  for (int64_t i = 0; i < step_; ++i)
    if (order_[i] != i) return false;
  return true;
}

int64_t Decoder::laneGroup() const {
  switch (kind_) {
    case Kind::kFp8Table: return 0;
    default: return step_ / lanes_;
  }
}

Values Decoder::decode(Value pointer, bool readsOn) {
  switch (kind_) {
    case Kind::kLoad: return {e_.load(e_.type(elementOf(e_, form_), width()), pointer)};
    case Kind::kExtendI8:
      return {e_.signExtend(e_.load(e_.type(e_.i8(), width()), pointer), e_.i16())};
    case Kind::kBf16: {
      const Value words = e_.load(e_.type(e_.i32(), lanes_), pointer);
      return {e_.bitcast(e_.shl(words, 16), e_.f32()),
              e_.bitcast(e_.andi(words, int64_t{0xffff0000}), e_.f32())};
    }
    case Kind::kFp8Shift:
    case Kind::kFp4Shift:
    case Kind::kFp4Lookup: return decodeShifted(e_.load(e_.type(e_.i32(), lanes_), pointer));
    case Kind::kFp8Table: return decodeFp8(pointer, fp8Tables());
    case Kind::kFp8Extend: {
      const Value code = e_.zeroExtend(e_.load(e_.type(e_.i8(), width()), pointer), e_.i16());
      const auto constant = [&](int64_t v) { return e_.integer(code.getType(), v); };
      const Value magnitude = e_.andi(code, int64_t{0x7f});
      // Exponents differ by 127 - 7; subnormals k * 2^-9 are normal here: k = 2^p * (1 + r).
      Value bits = e_.add(e_.shl(magnitude, 4), constant(120 << 7));
      for (int64_t k = 7; k >= 0; --k) {
        // Seven selects of constants; subnormals are too rare to deserve a table on this path.
        const Value is = e_.compare(mlir::arith::CmpIPredicate::eq, magnitude, constant(k));
        bits = e_.select(is, constant(k == 0 ? 0 : bf16Bits(e4m3Magnitude(k))), bits);
      }
      const Value nan = e_.compare(mlir::arith::CmpIPredicate::eq, magnitude, constant(0x7f));
      bits = e_.select(nan, constant(kBf16Nan), bits);
      return {e_.ori(bits, e_.shl(e_.andi(code, int64_t{0x80}), 8))};
    }
    case Kind::kFp4Table: {
      llvm::SmallVector<int64_t> entries;
      for (int i = 0; i < 32; ++i) entries.push_back(bf16Bits(e2m1(i & 15)));
      return nibbles(pointer, e_.integers(e_.i16(), entries), readsOn);
    }
  }
  return {};
}

Values Decoder::decodeShifted(Value words) {
  Values result;
  if (kind_ == Kind::kFp8Shift) {
    const Value nan = e_.floatBits(e_.type(e_.f32(), lanes_), 0x7fc00000);
    for (int j = 0; j < 4; ++j) {
      // Sign, exponent and mantissa moved to their places in f32; 2^120 makes up for the biases.
      const Value placed = e_.sar(j == 3 ? words : e_.shl(words, 24 - 8 * j), 4);
      const Value bits = e_.andi(placed, int64_t{0x87f00000});
      const Value value = e_.mul(e_.bitcast(bits, e_.f32()), std::ldexp(1.0, 120));
      const Value magnitude = e_.andi(placed, int64_t{0x07f00000});
      const Value isNan = e_.compare(mlir::arith::CmpIPredicate::eq, magnitude,
                                     e_.integer(magnitude.getType(), 0x07f00000));
      result.push_back(e_.select(isNan, nan, value));
    }
    return result;
  }
  Value table;
  if (kind_ == Kind::kFp4Lookup) {
    llvm::SmallVector<float> entries;
    for (int i = 0; i < 16; ++i) entries.push_back(static_cast<float>(e2m1(i)));
    table = e_.floats(entries);
  }
  for (int j = 0; j < 8; ++j) {
    if (table) {  // the lookup ignores the bits above the low four
      const Value index = j == 0 ? words : e_.shr(words, 4 * j);
      result.push_back(
          e_.intrinsic("llvm.x86.avx512.permvar.sf.512", table.getType(), {table, index}));
      continue;
    }
    const Value placed = e_.sar(j == 7 ? words : e_.shl(words, 28 - 4 * j), 6);
    const Value bits = e_.andi(placed, int64_t{0x81c00000});
    result.push_back(e_.mul(e_.bitcast(bits, e_.f32()), std::ldexp(1.0, 126)));
  }
  return result;
}

Values Decoder::nibbles(Value pointer, Value table, bool readsOn) {
  const mlir::Type type = e_.type(e_.i16(), 32);
  const auto lookup = [&](Value index) {  // ignores all but five index bits; entries 16.. repeat
    return e_.intrinsic("llvm.x86.avx512.permvar.hi.512", type, {table, index});
  };
  const Value words = e_.load(type, pointer);
  Values result = {lookup(words), lookup(e_.shr(words, 4))};
  if (readsOn) {  // the next byte of each word by another load, which is cheaper than two shifts
    const Value next = e_.load(type, e_.offset(pointer, 1));
    result.append({lookup(next), lookup(e_.shr(next, 4))});
  } else {
    result.append({lookup(e_.shr(words, 8)), lookup(e_.shr(words, 12))});
  }
  return result;
}

bool Decoder::folds(int64_t scaleGroup) const {
  if (kind_ == Kind::kFp4Table) return scaleGroup == 32;
  return kind_ == Kind::kFp8Table && scaleGroup % step_ == 0;
}

Values Decoder::decodeFp4Folded(Value pointer, Value scaleBytes) {
  llvm::SmallVector<int64_t> entries;  // zeros without a sign: saturation then keeps them
  for (int i = 0; i < 32; ++i)
    entries.push_back(i % 8 == 0 ? 0 : bf16Bits(std::ldexp(e2m1(i & 15), kFp4Bias)));
  const Value table = e_.integers(e_.i16(), entries);
  // Each byte to the high half of eight words, then to the place of the exponent.
  const Value word = e_.bitcast(scaleBytes, e_.i32());
  const Value all = e_.bitcast(e_.splat(word, 16), e_.i8());
  llvm::SmallVector<int64_t> picked;
  for (int64_t lane = 0; lane < 32; ++lane) {
    picked.push_back(0x80);      // zero
    picked.push_back(lane / 8);  // byte `group` of this 16-byte part
  }
  const Value spread = e_.intrinsic("llvm.x86.avx512.pshuf.b.512", all.getType(),
                                    {all, e_.integers(e_.i8(), picked)});
  const Value placed = e_.shr(e_.bitcast(spread, e_.i16()), 1);
  const Value excess = e_.sub(e_.integer(placed.getType(), (127 + kFp4Bias) << 7), placed);
  Values result;
  for (Value v : nibbles(pointer, table, false)) result.push_back(subSaturated(e_, v, excess));
  return result;
}

Fp8Tables Decoder::fp8Tables(Value exponent) {
  Fp8Tables tables;
  llvm::SmallVector<int64_t> bits;
  for (int i = 0; i < 128; ++i) {
    const double value = std::ldexp(e4m3Magnitude(i), exponent ? kFp8Bias : 0);
    bits.push_back(i == 0 ? 0 : bf16Bits(value));
  }
  bits[127] = kBf16Nan;
  if (!exponent) {
    for (int half = 0; half < 2; ++half) {
      llvm::SmallVector<int64_t> low, high;
      for (int i = 64 * half; i < 64 * half + 64; ++i) {
        low.push_back(bits[i] & 255);
        high.push_back(bits[i] >> 8);
      }
      tables.low[half] = e_.integers(e_.i8(), low);
      tables.high[half] = e_.integers(e_.i8(), high);
    }
    return tables;
  }
  const Value shift = e_.shl(e_.sub(e_.integer(e_.i16(), 127 + kFp8Bias), exponent), 7);
  const Value excess = e_.splat(shift, 32);
  Values words;  // as bytes: low and high alternate
  for (int quarter = 0; quarter < 4; ++quarter) {
    const llvm::ArrayRef<int64_t> part = llvm::ArrayRef(bits).slice(32 * quarter, 32);
    Value scaled = subSaturated(e_, e_.integers(e_.i16(), part), excess);
    if (quarter == 3) {
      llvm::SmallVector<int64_t> nan(32, 0);
      nan[31] = kBf16Nan;
      scaled = e_.ori(scaled, e_.integers(e_.i16(), nan));
    }
    words.push_back(e_.bitcast(scaled, e_.i8()));
  }
  llvm::SmallVector<int64_t> even, odd;
  for (int64_t i = 0; i < 64; ++i) {
    even.push_back(2 * i);
    odd.push_back(2 * i + 1);
  }
  for (int half = 0; half < 2; ++half) {
    tables.low[half] = e_.shuffle(words[2 * half], words[2 * half + 1], even);
    tables.high[half] = e_.shuffle(words[2 * half], words[2 * half + 1], odd);
  }
  return tables;
}

Values Decoder::decodeFp8(Value pointer, const Fp8Tables& tables) {
  const mlir::Type type = e_.type(e_.i8(), 64);
  const Value code = e_.load(type, pointer);
  const auto lookup = [&](const Value(&table)[2]) {  // seven index bits: the sign is ignored
    return e_.intrinsic("llvm.x86.avx512.vpermi2var.qi.512", type, {table[0], code, table[1]});
  };
  const Value low = lookup(tables.low);
  const Value high = e_.ori(lookup(tables.high), e_.andi(code, int64_t{0x80}));
  Values result;
  for (int64_t half = 0; half < 2; ++half) {
    llvm::SmallVector<int64_t> mask;
    for (int64_t lane = 0; lane < 32; ++lane) {
      const int64_t byte = lane / 8 * 16 + half * 8 + lane % 8;
      mask.push_back(byte);
      mask.push_back(64 + byte);
    }
    result.push_back(e_.bitcast(e_.shuffle(low, high, mask), e_.i16()));
  }
  return result;
}

}  // namespace tessera::compiler::cpu
