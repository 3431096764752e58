// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_pack.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/base/check.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;
using mlir::arith::CmpIPredicate;

constexpr int64_t kReuseBytes = 9 << 17;  // packed tiles kept for later calls
constexpr int64_t kReuseSlots = 16;       // K up to 16384; each call pays for its stack pages
constexpr int64_t kCopyRows = 32;

/// f32 values of `lanes` stored elements, in memory order.
Value loadFloats(Emitter& e, DType dtype, Value pointer, int64_t lanes) {
  if (dtype == DType::f32) return e.load(e.type(e.f32(), lanes), pointer);
  if (dtype == DType::bf16) {
    const Value bits = e.load(e.type(e.i16(), lanes), pointer);
    return e.bitcast(e.shl(e.zeroExtend(bits, e.i32()), 16), e.f32());
  }
  TESSERA_CHECK(dtype == DType::f8e4m3);
  const Value code = e.zeroExtend(e.load(e.type(e.i8(), lanes), pointer), e.i32());
  const Value bits = e.andi(e.sar(e.shl(code, 24), 4), int64_t{0x87f00000});
  const Value value = e.mul(e.bitcast(bits, e.f32()), std::ldexp(1.0, 120));
  const Value isNan =
      e.compare(CmpIPredicate::eq, e.andi(code, int64_t{0x7f}), e.integer(code.getType(), 0x7f));
  return e.select(isNan, e.floatBits(value.getType(), 0x7fc00000), value);
}

/// Elements [first, first + width) of a row as one vector of `form`; `step` is where `first` counts
/// from, and `row` points at.
Value loadPart(Emitter& e, const Decoder& decoder, const DotOperand& operand,
               const std::optional<DotScale>& scale, int64_t rows, int64_t k, Value rowIndex,
               Value step, Value pointer, int64_t first) {
  const int64_t lanes = decoder.lanes(), width = decoder.width();
  const Value from = e.offset(pointer, size_in_bytes(operand.dtype, first));
  if (decoder.form() == DotForm::kI16)
    return e.signExtend(e.load(e.type(e.i8(), width), from), e.i16());
  if (decoder.form() == DotForm::kBf16 && operand.dtype == DType::bf16 && !scale)
    return e.load(e.type(e.i16(), width), from);
  Values parts;
  for (int64_t part = 0; part < width; part += lanes) {
    Value value =
        loadFloats(e, operand.dtype, e.offset(from, size_in_bytes(operand.dtype, part)), lanes);
    if (scale) {
      const Value group = divide(e, e.add(step, e.i64(first + part)), groupOf(*scale, k));
      const Value address = scaleAddress(e, *scale, rowIndex, rows, group);
      value = e.mul(value, e.splat(loadScale(e, scale->dtype, address), lanes));
    }
    if (decoder.form() == DotForm::kBf16)  // exact: f8 and bf16 times a power of two
      value = e.truncate(e.shr(e.bitcast(value, e.i32()), 16), e.i16());
    parts.push_back(value);
  }
  return e.concat(parts);
}

}  // namespace

bool isReady(const DotTask& task, const DotOperand& operand, bool scaled, const Decoder& decoder) {
  if (scaled || !decoder.isNatural()) return false;
  if (std::min(task.m, task.n) >= kCopyRows) return false;
  return (operand.dtype == DType::f32 && decoder.form() == DotForm::kF32) ||
         (operand.dtype == DType::bf16 && decoder.form() == DotForm::kBf16);
}

bool canPack(const std::optional<DotScale>& scale, int64_t k, int64_t lanes) {
  return !scale || groupOf(*scale, k) >= lanes;
}

Value scaleAddress(Emitter& e, const DotScale& scale, Value row, int64_t rows, Value group) {
  const Value line = e.mul(divide(e, row, rows / scale.rows), scale.rowStride);
  const Value bytes = scale.dtype == DType::f32 ? e.shl(group, 2) : group;
  return e.offset(e.offset(scale.pointer, line), bytes);
}

void packRows(Emitter& e, const Decoder& decoder, const DotOperand& operand,
              const std::optional<DotScale>& scale, int64_t rows, int64_t k, const DotRows& to,
              Value used) {
  const int64_t width = decoder.width(), step = decoder.step();
  const int64_t bytes = width * bytesOf(decoder.form());
  const auto packRow = [&](Value row) {
    const Value from = e.offset(operand.pointer, e.mul(row, operand.rowStride));
    const Value target = to.row(e, row);
    e.loop(0, k, step, [&](Value first) {
      const Value pointer = e.offset(from, operand.dtype == DType::f32    ? e.shl(first, 2)
                                           : operand.dtype == DType::bf16 ? e.shl(first, 1)
                                                                          : first);
      Values parts;
      for (int64_t part = 0; part < step; part += width)
        parts.push_back(loadPart(e, decoder, operand, scale, rows, k, row, first, pointer, part));
      if (!decoder.isNatural()) parts = permute(e, parts, decoder.order());
      const Value out = e.offset(target, e.mul(first, e.i64(bytesOf(decoder.form()))));
      for (size_t i = 0; i < parts.size(); ++i) e.store(parts[i], e.offset(out, i * bytes));
    });
  };
  if (!used) return e.loop(0, rows, 1, packRow);
  e.loop(e.i64(0), used, e.i64(1), {}, [&](Value row, mlir::ValueRange) {
    packRow(row);
    return Values();
  });
}

DotRows scratchRows(Emitter& e, DotForm form, int64_t rows, int64_t k) {
  const int64_t stride = (k * bytesOf(form) + 63) / 64 * 64 + 64;
  return {e.scratch(rows * stride), e.i64(stride)};
}

namespace {

/// A stack array of slots of packed tiles, and which call filled each.
struct ReuseTable {
  int64_t slots, tileBytes, keyBytes;
  Value tiles, keys;

  static ReuseTable create(Emitter& e, int64_t tileBytes, size_t keys) {
    ReuseTable table;
    table.slots = std::clamp<int64_t>(kReuseBytes / tileBytes, 1, kReuseSlots);
    table.tileBytes = tileBytes;
    table.keyBytes = 8 * (static_cast<int64_t>(keys) + 1);  // a flag, then the key
    table.tiles = e.scratch(table.slots * tileBytes);
    table.keys = e.scratch(table.slots * table.keyBytes);
    mlir::OpBuilder::InsertionGuard guard(e.builder);
    e.builder.setInsertionPointAfter(table.keys.getDefiningOp());
    mlir::LLVM::MemsetOp::create(e.builder, e.loc, table.keys, e.integer(e.i8(), 0),
                                 e.i64(table.slots * table.keyBytes), /*isVolatile=*/false);
    return table;
  }
};

}  // namespace

Value keptOrMade(Emitter& e, DotTask& task, int64_t bytes, llvm::function_ref<void(Value)> fill) {
  if (!task.reuse) {
    const Value memory = e.scratch(bytes);
    fill(memory);
    return memory;
  }
  const Values key(task.reuse->key);
  const ReuseTable table = ReuseTable::create(e, bytes, key.size());
  const Value index = divide(e, task.reuse->position, task.k);
  const Value slot =
      mlir::arith::RemUIOp::create(e.builder, e.loc, index, e.i64(table.slots)).getResult();
  const Value memory = e.offset(table.tiles, e.mul(slot, e.i64(table.tileBytes)));
  const Value keys = e.offset(table.keys, e.mul(slot, e.i64(table.keyBytes)));
  // One difference of all parts: a branch for each would cost more than the loads.
  Value changed = e.xori(e.load(e.i64(), keys, 8), 1);
  for (size_t i = 0; i < key.size(); ++i)
    changed = e.ori(changed, e.xori(e.load(e.i64(), e.offset(keys, 8 * (i + 1)), 8), key[i]));
  e.ifThen(e.compare(CmpIPredicate::ne, changed, e.i64(0)), [&] {
    task.reuse->load(task);
    fill(memory);
    e.store(e.i64(1), keys, 8);
    for (size_t i = 0; i < key.size(); ++i) e.store(key[i], e.offset(keys, 8 * (i + 1)), 8);
  });
  return memory;
}

DotRows packA(Emitter& e, DotTask& task, const Decoder& decoder) {
  // Rows that stick out of their view are copied before: rather once than in every call.
  const bool copied = task.reuse && task.m > 1;
  if (!copied && isReady(task, task.a, task.aScale.has_value(), decoder)) {
    if (task.reuse) task.reuse->load(task);
    return {task.a.pointer, task.a.rowStride};
  }
  const int64_t stride = (task.k * bytesOf(decoder.form()) + 63) / 64 * 64 + 64;
  const Value memory = keptOrMade(e, task, task.m * stride, [&](Value to) {
    packRows(e, decoder, task.a, task.aScale, task.m, task.k, {to, e.i64(stride)});
  });
  return {memory, e.i64(stride)};
}

}  // namespace tessera::compiler::cpu
