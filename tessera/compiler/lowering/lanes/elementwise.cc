// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/lanes/elementwise.h"

#include <bit>
#include <cstring>

#include "tessera/base/check.h"
#include "tessera/compiler/ir/node_form.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/lanes/math.h"
#include "tessera/compiler/lowering/lanes/memory_format.h"

namespace tessera::compiler {

namespace arith = mlir::arith;
using arith::CmpFPredicate;
using arith::CmpIPredicate;
using lang::Opcode;
using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;

namespace {

bool isUnsigned(DType dtype) { return dtype == DType::u32 || dtype == DType::u8; }

Value unaryOp(Emitter& e, Opcode op, DType dtype, Value x) {
  const bool isFloat = dtype == DType::f32;
  switch (op) {
    case Opcode::kNeg:
      if (isFloat) return arith::NegFOp::create(e.builder, e.loc, x);
      return e.sub(e.integer(x.getType(), 0), x);
    case Opcode::kAbs:
      if (isFloat) return e.bitcast(e.andi(e.bitcast(x, e.i32()), 0x7fffffff), e.f32());
      return e.maxSigned(x, e.sub(e.integer(x.getType(), 0), x));
    case Opcode::kNot: return e.xori(x, -1);
    case Opcode::kExp: return emitExp(e, x);
    case Opcode::kExp2: return emitExp2(e, x);
    case Opcode::kLog: return emitLog(e, x);
    case Opcode::kLog1p: return emitLog1p(e, x);
    case Opcode::kSqrt: return emitSqrt(e, x);
    case Opcode::kRsqrt: return divide(e, e.constant(x.getType(), 1.0), emitSqrt(e, x));
    case Opcode::kSigmoid: return emitSigmoid(e, x);
    case Opcode::kSin: return emitSin(e, x);
    case Opcode::kCos: return emitCos(e, x);
    default: TESSERA_UNREACHABLE("unary {}", lang::mnemonic(op));
  }
}

template <class SignedOp, class UnsignedOp>
Value integerOp(Emitter& e, DType dtype, Value a, Value b) {
  return isUnsigned(dtype) ? e.builder.createOrFold<UnsignedOp>(e.loc, a, b)
                           : e.builder.createOrFold<SignedOp>(e.loc, a, b);
}

Value binaryOp(Emitter& e, Opcode op, DType dtype, Value a, Value b) {
  const bool isFloat = dtype == DType::f32;
  switch (op) {
    case Opcode::kAdd: return e.add(a, b);
    case Opcode::kSub: return e.sub(a, b);
    case Opcode::kMul: return e.mul(a, b);
    case Opcode::kDiv:
      return isFloat ? divide(e, a, b) : integerOp<arith::DivSIOp, arith::DivUIOp>(e, dtype, a, b);
    case Opcode::kRem: return integerOp<arith::RemSIOp, arith::RemUIOp>(e, dtype, a, b);
    case Opcode::kMin:
      return isFloat ? minFloat(e, a, b)
                     : integerOp<arith::MinSIOp, arith::MinUIOp>(e, dtype, a, b);
    case Opcode::kMax:
      return isFloat ? maxFloat(e, a, b)
                     : integerOp<arith::MaxSIOp, arith::MaxUIOp>(e, dtype, a, b);
    case Opcode::kAnd: return e.andi(a, b);
    case Opcode::kOr: return e.ori(a, b);
    case Opcode::kXor: return e.xori(a, b);
    case Opcode::kShl: return e.builder.createOrFold<arith::ShLIOp>(e.loc, a, b);
    case Opcode::kShr: return integerOp<arith::ShRSIOp, arith::ShRUIOp>(e, dtype, a, b);
    default: TESSERA_UNREACHABLE("binary {}", lang::mnemonic(op));
  }
}

Value compareOp(Emitter& e, tile::Predicate predicate, DType dtype, Value a, Value b) {
  using enum tile::Predicate;
  if (dtype == DType::f32) {
    static constexpr CmpFPredicate kFloat[] = {CmpFPredicate::OEQ, CmpFPredicate::UNE,
                                               CmpFPredicate::OLT, CmpFPredicate::OLE,
                                               CmpFPredicate::OGT, CmpFPredicate::OGE};
    return e.compare(kFloat[static_cast<size_t>(predicate)], a, b);
  }
  static constexpr CmpIPredicate kSigned[] = {CmpIPredicate::eq,  CmpIPredicate::ne,
                                              CmpIPredicate::slt, CmpIPredicate::sle,
                                              CmpIPredicate::sgt, CmpIPredicate::sge};
  static constexpr CmpIPredicate kUnsigned[] = {CmpIPredicate::eq,  CmpIPredicate::ne,
                                                CmpIPredicate::ult, CmpIPredicate::ule,
                                                CmpIPredicate::ugt, CmpIPredicate::uge};
  return e.compare((isUnsigned(dtype) ? kUnsigned : kSigned)[static_cast<size_t>(predicate)], a, b);
}

/// Bit casts change only how lanes are named: f32 <-> i32 really, storage formats share registers.
Value bitcastOp(Emitter& e, DType to, Value x) { return e.bitcast(x, laneType(e, to)); }

/// 16 entries by index vectors of a full register; AVX2 picks from both halves of the table.
Value permuteTable(Emitter& e, ArrayRef<float> table, Value code) {
  if (e.target.hasAvx512)
    return e.intrinsic("llvm.x86.avx512.permvar.sf.512", e.type(e.f32(), 16),
                       {e.floats(table), code});
  const auto half = [&](ArrayRef<float> entries) {
    return e.intrinsic("llvm.x86.avx2.permps", e.type(e.f32(), 8), {e.floats(entries), code});
  };
  const Value upper = e.compare(CmpIPredicate::ne, e.andi(code, 8), e.integer(code.getType(), 0));
  return e.select(upper, half(table.drop_front(8)), half(table.take_front(8)));
}

Value lookupOp(Emitter& e, tile::LookupOp op, Value code) {
  SmallVector<float> table;
  for (int64_t bits : op.getTable())
    table.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  code = e.andi(e.zeroExtend(code, e.i32()), 15);
  const int64_t lanes = Emitter::lanesOf(code), width = e.target.lanes;
  if (e.target.hasAvx2 && lanes >= width) {
    SmallVector<Value> parts;
    for (int64_t first = 0; first < lanes; first += width)
      parts.push_back(permuteTable(e, table, e.slice(code, first, width)));
    return e.concat(parts);
  }
  const Value base = e.table({reinterpret_cast<const char*>(table.data()), 4 * table.size()});
  Value result = lanes == 1 ? Value() : e.constant(e.type(e.f32(), lanes), 0);
  for (int64_t i = 0; i < lanes; ++i) {
    const Value bytes = e.shl(e.zeroExtend(e.extract(code, i), e.i64()), 2);
    const Value entry = e.load(e.f32(), e.offset(base, bytes), 4);
    result = lanes == 1 ? entry : e.insert(result, entry, i);
  }
  return result;
}

/// Philox 4x32-10 with counter (c, 0, 0, 0) and the seed's two halves as key; word 0.
Value randomOp(Emitter& e, Value counter, Value seed) {
  const int64_t lanes = Emitter::lanesOf(counter);
  const mlir::Type type = counter.getType(), wide = e.i64();
  constexpr int64_t kMultiplierA = 0xD2511F53, kMultiplierB = 0xCD9E8D57;
  Value word[4] = {counter, e.integer(type, 0), e.integer(type, 0), e.integer(type, 0)};
  Value keyA = e.truncate(seed, e.i32()), keyB = e.truncate(e.shr(seed, 32), e.i32());
  for (int round = 0; round < 10; ++round) {
    const auto product = [&](Value x, int64_t multiplier) {
      const Value widened = e.zeroExtend(x, wide);
      return e.mul(widened, e.integer(widened.getType(), multiplier));
    };
    const Value a = product(word[0], kMultiplierA), b = product(word[2], kMultiplierB);
    const auto low = [&](Value x) { return e.truncate(x, e.i32()); };
    const auto high = [&](Value x) { return e.truncate(e.shr(x, 32), e.i32()); };
    const Value next[4] = {e.xori(e.xori(high(b), word[1]), e.splat(keyA, lanes)), low(b),
                           e.xori(e.xori(high(a), word[3]), e.splat(keyB, lanes)), low(a)};
    std::copy(std::begin(next), std::end(next), std::begin(word));
    keyA = e.add(keyA, e.i32(static_cast<int32_t>(0x9E3779B9)));
    keyB = e.add(keyB, e.i32(static_cast<int32_t>(0xBB67AE85)));
  }
  return word[0];
}

}  // namespace

bool isElementwise(mlir::Operation* op) {
  const auto opcode = tile::opcodeOf(op);
  return opcode && ((*opcode >= Opcode::kNeg && *opcode <= Opcode::kFma) ||
                    *opcode == Opcode::kLookup || *opcode == Opcode::kRandomBits);
}

Value emitElementwise(Emitter& e, mlir::Operation* op, ArrayRef<Value> operands) {
  const Opcode opcode = *tile::opcodeOf(op);
  const DType dtype = tile::dtypeOf(op->getOperand(0)), result = tile::dtypeOf(op->getResult(0));
  switch (opcode) {
    case Opcode::kCast: return convert(e, dtype, result, operands[0]);
    case Opcode::kBitcast: return bitcastOp(e, result, operands[0]);
    case Opcode::kCompare:
      return compareOp(e, llvm::cast<tile::CompareOp>(op).getPredicate(), dtype, operands[0],
                       operands[1]);
    case Opcode::kSelect: return e.select(operands[0], operands[1], operands[2]);
    case Opcode::kFma: return e.fma(operands[0], operands[1], operands[2]);
    case Opcode::kLookup: return lookupOp(e, llvm::cast<tile::LookupOp>(op), operands[0]);
    case Opcode::kRandomBits: return randomOp(e, operands[0], operands[1]);
    default: break;
  }
  if (operands.size() == 1) return unaryOp(e, opcode, dtype, operands[0]);
  return binaryOp(e, opcode, dtype, operands[0], operands[1]);
}

}  // namespace tessera::compiler
