// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/lanes/memory_format.h"

#include <bit>

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/base/check.h"
#include "tessera/base/float_formats.h"

namespace tessera::compiler {

namespace arith = mlir::arith;
using llvm::SmallVector;
using mlir::Value;

// ---- indices ----

Index add(Emitter& e, Index a, Index b) {
  const int64_t constant = a.constant + b.constant;
  if (!a.dynamic) return {b.dynamic, constant};
  if (!b.dynamic) return {a.dynamic, constant};
  return {e.add(a.dynamic, b.dynamic), constant};
}

Index scale(Emitter& e, Index a, int64_t factor) {
  if (!a.dynamic || factor == 1) return {a.dynamic, a.constant * factor};
  return {e.mul(a.dynamic, e.i64(factor)), a.constant * factor};
}

Index divide(Emitter& e, Index a, int64_t power) {
  if (!a.dynamic) return a.constant / power;
  return power == 1
             ? a
             : Index(e.sar(materialize(e, a), std::countr_zero(static_cast<uint64_t>(power))));
}

Index remainder(Emitter& e, Index a, int64_t power) {
  if (!a.dynamic) return a.constant % power;
  return power == 1 ? Index(0) : Index(e.andi(materialize(e, a), power - 1));
}

Value materialize(Emitter& e, Index a) {
  if (!a.dynamic) return e.i64(a.constant);
  return a.constant == 0 ? a.dynamic : e.add(a.dynamic, e.i64(a.constant));
}

Value offset(Emitter& e, Value pointer, Index bytes) {
  if (bytes.dynamic) pointer = e.offset(pointer, bytes.dynamic);
  return e.offset(pointer, bytes.constant);
}

// ---- lanes ----

mlir::Type laneType(Emitter& e, DType dtype) {
  switch (dtype) {
    case DType::i1: return e.i1();
    case DType::i8:
    case DType::u8:
    case DType::f8e4m3:
    case DType::f8e5m2:
    case DType::f8e8m0:
    case DType::f4e2m1: return e.i8();
    case DType::i16:
    case DType::bf16:
    case DType::f16: return e.i16();
    case DType::i32:
    case DType::u32: return e.i32();
    case DType::i64: return e.i64();
    case DType::f32: return e.f32();
    case DType::f64: break;
  }
  TESSERA_UNREACHABLE("{} in a kernel", name(dtype));
}

namespace {

Value address(Emitter& e, DType dtype, Value base, Index first) {
  return offset(e, base,
                dtype == DType::f4e2m1 ? divide(e, first, 2) : scale(e, first, bits(dtype) / 8));
}

unsigned alignmentOf(DType dtype, unsigned align) {
  return align != 0 ? align : static_cast<unsigned>(std::max(1, bits(dtype) / 8));
}

Value loadNibbles(Emitter& e, Value base, Index first, int64_t lanes, unsigned align) {
  const Value bytes =
      e.load(e.type(e.i8(), std::max<int64_t>(lanes / 2, 1)),
             address(e, DType::f4e2m1, base, first), alignmentOf(DType::f4e2m1, align));
  if (lanes == 1) {
    if (first.isConstant()) return first.constant % 2 ? e.shr(bytes, 4) : e.andi(bytes, 15);
    const Value odd = e.truncate(materialize(e, remainder(e, first, 2)), e.i8());
    return e.andi(e.builder.createOrFold<arith::ShRUIOp>(e.loc, bytes, e.shl(odd, 2)), 15);
  }
  const Value low = e.andi(bytes, 15), high = e.shr(bytes, 4);
  SmallVector<int64_t> mask(lanes);
  for (int64_t i = 0; i < lanes; ++i) mask[i] = i / 2 + (i % 2) * (lanes / 2);
  return e.shuffle(low, high, mask);
}

/// Pairs of lanes to bytes.
Value packNibbles(Emitter& e, Value value) {
  const int64_t pairs = Emitter::lanesOf(value) / 2;
  SmallVector<int64_t> even(pairs), odd(pairs);
  for (int64_t i = 0; i < pairs; ++i) even[i] = 2 * i, odd[i] = 2 * i + 1;
  return e.ori(e.andi(e.shuffle(value, {}, even), 15), e.shl(e.shuffle(value, {}, odd), 4));
}

/// One nibble of a byte that holds another one as well.
Value mergeNibble(Emitter& e, Value old, Value code, Index position) {
  const Value odd = e.truncate(materialize(e, remainder(e, position, 2)), e.i8());
  const Value shift = e.shl(odd, 2);
  const Value placed = e.builder.createOrFold<arith::ShLIOp>(e.loc, e.andi(code, 15), shift);
  const Value kept = e.builder.createOrFold<arith::ShLIOp>(e.loc, e.integer(e.i8(), 15), shift);
  return e.ori(e.andi(old, e.xori(kept, -1)), placed);
}

}  // namespace

Value loadLanes(Emitter& e, DType dtype, Value base, Index first, int64_t lanes, unsigned align) {
  if (dtype == DType::f4e2m1) return loadNibbles(e, base, first, lanes, align);
  const Value from = address(e, dtype, base, first);
  if (dtype == DType::i1) {
    const Value bytes = e.load(e.type(e.i8(), lanes), from, alignmentOf(dtype, align));
    return e.compare(arith::CmpIPredicate::ne, bytes, e.integer(bytes.getType(), 0));
  }
  return e.load(laneType(e, dtype, lanes), from, alignmentOf(dtype, align));
}

void storeLanes(Emitter& e, DType dtype, Value value, Value base, Index first, unsigned align,
                bool nonTemporal) {
  const Value to = address(e, dtype, base, first);
  if (dtype == DType::f4e2m1) {
    if (Emitter::lanesOf(value) > 1)
      value = packNibbles(e, value);
    else
      value = mergeNibble(e, e.load(e.i8(), to), value, first);
  }
  if (dtype == DType::i1) value = e.zeroExtend(value, e.i8());
  e.store(value, to, alignmentOf(dtype, align), nonTemporal);
}

void storeMasked(Emitter& e, DType dtype, Value value, Value mask, Value base, Index first) {
  const int64_t lanes = Emitter::lanesOf(value);
  if (lanes == 1) {
    e.ifThen(mask, [&] { storeLanes(e, dtype, value, base, first); });
    return;
  }
  if (dtype == DType::f4e2m1) {  // two lanes share a byte: one after the other
    for (int64_t i = 0; i < lanes; ++i)
      storeMasked(e, dtype, e.extract(value, i), e.extract(mask, i), base, first + i);
    return;
  }
  if (dtype == DType::i1) value = e.zeroExtend(value, e.i8());
  mlir::LLVM::MaskedStoreOp::create(e.builder, e.loc, value, address(e, dtype, base, first), mask,
                                    alignmentOf(dtype, 0));
}

// ---- constants ----

uint64_t memoryPattern(DType dtype, int64_t bits) {
  const float number = std::bit_cast<float>(static_cast<uint32_t>(bits));
  switch (dtype) {
    case DType::bf16: return encode_bf16(number);
    case DType::f16: return encode_f16(number);
    case DType::f8e4m3: return encode_e4m3(number);
    case DType::f8e5m2: return encode_e5m2(number);
    case DType::f8e8m0: return encode_e8m0(static_cast<double>(number));
    case DType::f4e2m1: return encode_e2m1(number) * 0x11u;
    default: {
      const int width = tessera::bits(dtype);
      return width == 64 ? static_cast<uint64_t>(bits)
                         : static_cast<uint64_t>(bits) & ((uint64_t{1} << width) - 1);
    }
  }
}

Value splatConstant(Emitter& e, DType dtype, int64_t bits, int64_t lanes) {
  const mlir::Type type = laneType(e, dtype, lanes);
  if (dtype == DType::f32) return e.floatBits(type, static_cast<uint32_t>(bits));
  uint64_t pattern = memoryPattern(dtype, bits);
  if (dtype == DType::f4e2m1) pattern &= 15;
  return e.integer(type, static_cast<int64_t>(pattern));
}

}  // namespace tessera::compiler
