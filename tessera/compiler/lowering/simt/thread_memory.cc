// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/thread_memory.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "tessera/base/check.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using mlir::Location;
using mlir::Type;
using mlir::Value;

Type registerType(mlir::MLIRContext* context, DType dtype) {
  mlir::Builder b(context);
  switch (dtype) {
    case DType::f32: return b.getF32Type();
    case DType::i1: return b.getI1Type();
    case DType::i64: return b.getI64Type();
    case DType::i32:
    case DType::u32: return b.getI32Type();
    case DType::bf16:
    case DType::f16: return b.getI16Type();
    default: return b.getI8Type();
  }
}

Value ThreadMemory::constant(Location loc, Type type, int64_t value) {
  return arith::ConstantOp::create(builder_, loc, builder_.getIntegerAttr(type, value));
}

Value ThreadMemory::tensorMap(Location, uint32_t) {
  TESSERA_UNREACHABLE("the chip has no copy engine");
}

Value ThreadMemory::fromLane(Location, Value, int, int) {
  TESSERA_UNREACHABLE("the chip's products exchange no rows");
}

namespace {
constexpr const char* kNoMatrices = "the chip has no cooperative matrices";
}

ThreadMemory::Units ThreadMemory::loadPiece(Location, const Array&, Value) {
  TESSERA_UNREACHABLE("{}", kNoMatrices);
}

void ThreadMemory::storePiece(Location, mlir::ValueRange, const Array&, Value) {
  TESSERA_UNREACHABLE("{}", kNoMatrices);
}

Value ThreadMemory::piecePointer(Location, const Array&, Value) {
  TESSERA_UNREACHABLE("{}", kNoMatrices);
}

Value ThreadMemory::subgroup(Location) { TESSERA_UNREACHABLE("{}", kNoMatrices); }

Value ThreadMemory::slotsAligned(Location loc, llvm::ArrayRef<uint32_t> slots, int64_t bytes) {
  const Type i64 = builder_.getI64Type();
  Value all;
  for (uint32_t index : slots) {
    const Value base = slot(loc, index);
    all = all ? Value(arith::OrIOp::create(builder_, loc, all, base)) : base;
  }
  const Value rest = arith::AndIOp::create(builder_, loc, all, constant(loc, i64, bytes - 1));
  return arith::CmpIOp::create(builder_, loc, arith::CmpIPredicate::eq, rest,
                               constant(loc, i64, 0));
}

Array ThreadMemory::allocateShared(Location loc, DType dtype, int64_t count, int64_t firstWord) {
  return {sharedWords(loc, firstWord), dtype, count, firstWord};
}

Value ThreadMemory::load(Location loc, const Array& array, Value index) {
  const Type i32 = builder_.getI32Type(), i64 = builder_.getI64Type();
  if (array.dtype == DType::i64) {
    const Value low_word = arith::ShLIOp::create(builder_, loc, index, constant(loc, i32, 1));
    const Value high_word = arith::AddIOp::create(builder_, loc, low_word, constant(loc, i32, 1));
    const Value low = arith::ExtUIOp::create(builder_, loc, i64, loadWord(loc, array, low_word));
    const Value high = arith::ExtUIOp::create(builder_, loc, i64, loadWord(loc, array, high_word));
    const Value shifted = arith::ShLIOp::create(builder_, loc, high, constant(loc, i64, 32));
    return arith::OrIOp::create(builder_, loc, low, shifted);
  }
  const Value word = loadWord(loc, array, index);
  const Type type = registerType(builder_.getContext(), array.dtype);
  if (type == i32) return word;
  if (llvm::isa<mlir::FloatType>(type)) return arith::BitcastOp::create(builder_, loc, type, word);
  if (type.isInteger(1))
    return arith::CmpIOp::create(builder_, loc, arith::CmpIPredicate::ne, word,
                                 constant(loc, i32, 0));
  return arith::TruncIOp::create(builder_, loc, type, word);
}

void ThreadMemory::store(Location loc, Value value, const Array& array, Value index) {
  const Type i32 = builder_.getI32Type();
  if (array.dtype == DType::i64) {
    const Value low_word = arith::ShLIOp::create(builder_, loc, index, constant(loc, i32, 1));
    const Value high_word = arith::AddIOp::create(builder_, loc, low_word, constant(loc, i32, 1));
    const Value shifted =
        arith::ShRUIOp::create(builder_, loc, value, constant(loc, builder_.getI64Type(), 32));
    storeWord(loc, arith::TruncIOp::create(builder_, loc, i32, value), array, low_word);
    storeWord(loc, arith::TruncIOp::create(builder_, loc, i32, shifted), array, high_word);
    return;
  }
  if (llvm::isa<mlir::FloatType>(value.getType()))
    value = arith::BitcastOp::create(builder_, loc, i32, value);
  else if (value.getType() != i32)
    value = arith::ExtUIOp::create(builder_, loc, i32, value);
  storeWord(loc, value, array, index);
}

}  // namespace tessera::compiler::simt
