// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_plain.h"

#include <cmath>

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;
using mlir::arith::CmpIPredicate;

Value addressOf(Emitter& e, DType dtype, Value row, Value k) {
  if (bits(dtype) < 8) return e.offset(row, e.shr(k, 1));
  return e.offset(row, e.mul(k, e.i64(size_in_bytes(dtype, 1))));
}

/// Element k of the row at `row` as f32, or i32 for i8.
Value element(Emitter& e, DType dtype, Value row, Value k) {
  const Value from = addressOf(e, dtype, row, k);
  switch (dtype) {
    case DType::i8: return e.signExtend(e.load(e.i8(), from), e.i32());
    case DType::bf16:
      return e.bitcast(e.shl(e.zeroExtend(e.load(e.i16(), from), e.i32()), 16), e.f32());
    case DType::f8e4m3: {
      const Value code = e.zeroExtend(e.load(e.i8(), from), e.i32());
      const Value placed = e.andi(e.sar(e.shl(code, 24), 4), int64_t{0x87f00000});
      const Value value = e.mul(e.bitcast(placed, e.f32()), std::ldexp(1.0, 120));
      const Value isNan = e.compare(CmpIPredicate::eq, e.andi(code, int64_t{0x7f}), e.i32(0x7f));
      return e.select(isNan, e.floatBits(e.f32(), 0x7fc00000), value);
    }
    case DType::f4e2m1: {
      const Value byte = e.zeroExtend(e.load(e.i8(), from), e.i32());
      const Value odd = e.compare(CmpIPredicate::ne, e.andi(k, 1), e.i64(0));
      const Value code = e.select(odd, e.shr(byte, 4), byte);
      const Value placed = e.andi(e.sar(e.shl(code, 28), 6), int64_t{0x81c00000});
      return e.mul(e.bitcast(placed, e.f32()), std::ldexp(1.0, 126));
    }
    default: return e.load(e.f32(), from);
  }
}

Value scaleOf(Emitter& e, const DotScale& scale, Value row, int64_t rows, Value k, int64_t total) {
  return loadScale(e, scale.dtype,
                   scaleAddress(e, scale, row, rows, divide(e, k, groupOf(scale, total))));
}

/// Element k of row m of a packed operand, without its scale (which is folded in).
Value packedElement(Emitter& e, const Decoder& decoder, const DotRows& rows, Value m, Value k) {
  // Where element i of a step lies: the inverse of the decoder's order, as 16-bit numbers.
  const int64_t step = decoder.step();
  std::string table(2 * step, '\0');
  for (int64_t place = 0; place < step; ++place) {
    table[2 * decoder.order()[place]] = static_cast<char>(place & 255);
    table[2 * decoder.order()[place] + 1] = static_cast<char>(place >> 8);
  }
  const Value inStep = e.andi(k, step - 1);
  const Value entry =
      e.offset(e.table(llvm::ArrayRef(table.data(), table.size())), e.shl(inStep, 1));
  const Value place = e.zeroExtend(e.load(e.i16(), entry), e.i64());
  const Value index = e.add(e.sub(k, inStep), place);
  const DType dtype = decoder.form() == DotForm::kF32 ? DType::f32 : DType::bf16;
  return element(e, dtype, rows.row(e, m), index);
}

}  // namespace

void emitElements(Emitter& e, const DotTask& task, const Decoder* decoder, const DotRows* packed) {
  const bool integers = task.a.dtype == DType::i8;
  const mlir::Type type = integers ? e.i32() : e.f32();
  const int64_t entry = 4 * (task.layout == DotTask::Accumulator::kPartial ? e.target.lanes : 1);
  const bool transposed = task.layout == DotTask::Accumulator::kTransposed;
  const auto product = [&](Value m, Value n, Value k) {
    Value x =
        packed ? packedElement(e, *decoder, *packed, m, k)
               : element(e, task.a.dtype, e.offset(task.a.pointer, e.mul(m, task.a.rowStride)), k);
    if (!packed && task.aScale) x = e.mul(x, scaleOf(e, *task.aScale, m, task.m, k, task.k));
    const Value line = e.mul(task.bIsKn ? k : n, task.b.rowStride);
    Value y = element(e, task.b.dtype, e.offset(task.b.pointer, line), task.bIsKn ? n : k);
    if (task.bScale) y = e.mul(y, scaleOf(e, *task.bScale, n, task.n, k, task.k));
    return e.mul(x, y);
  };
  e.loop(0, task.m, 1, [&](Value m) {
    e.loop(0, task.n, 1, [&](Value n) {
      const Value index =
          transposed ? e.add(e.mul(n, e.i64(task.m)), m) : e.add(e.mul(m, e.i64(task.n)), n);
      const Value to = e.offset(task.accumulator, e.mul(index, e.i64(entry)));
      const Values sum = e.loop(e.i64(0), e.i64(task.k), e.i64(1), {e.constant(type, 0)},
                                [&](Value k, mlir::ValueRange carried) -> Values {
                                  return {e.add(carried[0], product(m, n, k))};
                                });
      e.store(e.add(e.load(type, to, 4), sum[0]), to, 4);
    });
  });
}

}  // namespace tessera::compiler::cpu
