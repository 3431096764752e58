// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/nvvm_memory.h"

#include <string>

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "tessera/compiler/lowering/simt/inline_ptx.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace LLVM = mlir::LLVM;
using mlir::Location;
using mlir::Type;
using mlir::Value;

namespace {

// Address spaces of NVPTX.
constexpr unsigned kGlobal = 1, kShared = 3;
constexpr llvm::StringLiteral kSharedName = "workgroup_memory";

}  // namespace

Value NvvmMemory::special(Location loc, llvm::StringRef name) {
  return LLVM::CallIntrinsicOp::create(builder_, loc, builder_.getI32Type(),
                                       builder_.getStringAttr("llvm.nvvm.read.ptx.sreg." + name),
                                       mlir::ValueRange{})
      .getResult(0);
}

std::optional<ThreadMemory::Launch> NvvmMemory::launch(Location loc) {
  const auto along = [&](llvm::StringRef name, char axis) -> Value {
    return arith::ExtUIOp::create(builder_, loc, builder_.getI64Type(),
                                  special(loc, (name + "." + llvm::Twine(axis)).str()));
  };
  Launch launch;
  for (char axis : {'x', 'y', 'z'}) {
    launch.place.push_back(along("ctaid", axis));
    launch.extents.push_back(along("nctaid", axis));
  }
  return launch;
}
Value NvvmMemory::workgroup(Location loc) {
  const auto [place, extents] = *launch(loc);
  const auto join = [&](Value outer, Value extent, Value inner) -> Value {
    return arith::AddIOp::create(builder_, loc, arith::MulIOp::create(builder_, loc, outer, extent),
                                 inner);
  };
  return join(join(place[2], extents[1], place[1]), extents[0], place[0]);
}
Value NvvmMemory::workgroupCount(Location loc) {
  const auto extents = launch(loc)->extents;
  return arith::MulIOp::create(
      builder_, loc, arith::MulIOp::create(builder_, loc, extents[2], extents[1]), extents[0]);
}
Value NvvmMemory::threadId(Location loc) { return special(loc, "tid.x"); }

Value NvvmMemory::tensorMap(Location loc, uint32_t index) {
  return LLVM::PtrToIntOp::create(builder_, loc, builder_.getI64Type(),
                                  entry_->getArgument(slotCount_ + 2 + index));
}

void NvvmMemory::barrier(Location loc) {
  const auto number = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(builder_, loc,
                                     builder_.getI32IntegerAttr(static_cast<int32_t>(value)));
  };
  const auto call = [&](llvm::StringRef name, mlir::ValueRange operands) {
    LLVM::CallIntrinsicOp::create(builder_, loc, builder_.getStringAttr(name), operands);
  };
  if (barrierThreads_ == 0)
    call("llvm.nvvm.barrier.cta.sync.aligned.all", {number(0)});
  else
    call("llvm.nvvm.barrier.cta.sync.aligned.count", {number(1), number(barrierThreads_)});
}

Value NvvmMemory::opaque(Location loc, Value value) {
  return inlinePtx(builder_, loc, value.getType(), "mov.b32 $0, $1;", "=r,r", value, Effects::kSome)
      .getResult(0);
}

Value NvvmMemory::globalPointer(Location loc, Value address) {
  return LLVM::IntToPtrOp::create(
      builder_, loc, LLVM::LLVMPointerType::get(builder_.getContext(), kGlobal), address);
}

// Loads and stores are PTX texts: LLVM has no predicated ones, and would branch around each.
//
// A unit is an operand of 16 or 32 bits. Bytes travel in registers of 32: two of them in one would
// have to be put together as soon as the first has arrived.
namespace {

struct UnitForm {
  llvm::StringLiteral type, constraint;
  unsigned bits;  // of the operand
};
UnitForm formOf(Type unit) {
  switch (unit.getIntOrFloatBitWidth()) {
    case 8: return {"b8", "r", 32};
    case 16: return {"b16", "h", 16};
    default: return {"b32", "r", 32};
  }
}

/// "{$0, $1}", or "$0".
std::string operandList(int64_t first, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) text += (i == 0 ? "$" : ", $") + std::to_string(first + i);
  return count == 1 ? text : "{" + text + "}";
}

std::string vectorSuffix(int64_t count) {
  return count == 1 ? "." : ".v" + std::to_string(count) + ".";
}

}  // namespace

NvvmMemory::Units NvvmMemory::loadGlobal(Location loc, Type unit, int64_t count, Value address,
                                         Value inside, Value fill, Caching caching) {
  const UnitForm form = formOf(unit);
  const Type operand = builder_.getIntegerType(form.bits);
  const llvm::StringRef space = caching == Caching::kReadOnly ? "ld.global.nc" : "ld.global";
  std::string text, constraints;
  for (int64_t i = 0; i < count; ++i) constraints += "=" + form.constraint.str() + ",";
  constraints += "l";
  llvm::SmallVector<Value> operands = {address};
  if (inside) {
    // $count = address, then inside, then the fill.
    const std::string fillName = "$" + std::to_string(count + 2);
    text = "{ .reg .pred p; setp.ne.b32 p, $" + std::to_string(count + 1) + ", 0; ";
    for (int64_t i = 0; i < count; ++i)
      text +=
          "mov.b" + std::to_string(form.bits) + " $" + std::to_string(i) + ", " + fillName + "; ";
    text += "@p ";
    constraints += ",r," + form.constraint.str();
    operands.push_back(arith::ExtUIOp::create(builder_, loc, builder_.getI32Type(), inside));
    operands.push_back(
        unit == operand ? fill : Value(arith::ExtUIOp::create(builder_, loc, operand, fill)));
  }
  text += space.str() + vectorSuffix(count) + form.type.str() + " " + operandList(0, count) +
          ", [$" + std::to_string(count) + "];";
  if (inside) text += " }";
  const bool ordered = caching != Caching::kReadOnly;
  if (ordered) constraints += ",~{memory}";
  const Type result = count == 1
                          ? operand
                          : LLVM::LLVMStructType::getLiteral(
                                builder_.getContext(), llvm::SmallVector<Type>(count, operand));
  auto call = inlinePtx(builder_, loc, result, text, constraints, operands,
                        ordered ? Effects::kSome : Effects::kNone);
  Units units;
  for (int64_t i = 0; i < count; ++i) {
    Value value = count == 1 ? call.getResult(0)
                             : Value(LLVM::ExtractValueOp::create(builder_, loc, call.getResult(0),
                                                                  llvm::ArrayRef<int64_t>{i}));
    if (unit != operand) value = arith::TruncIOp::create(builder_, loc, unit, value);
    units.push_back(value);
  }
  return units;
}

void NvvmMemory::storeGlobal(Location loc, mlir::ValueRange units, Value address, Value inside,
                             Caching caching) {
  const Type unit = units[0].getType();
  const UnitForm form = formOf(unit);
  const auto count = static_cast<int64_t>(units.size());
  const Type operand = builder_.getIntegerType(form.bits);
  llvm::SmallVector<Value> operands = {address};
  std::string constraints = "l", text;
  for (Value value : units) {
    operands.push_back(
        unit == operand ? value : Value(arith::ExtUIOp::create(builder_, loc, operand, value)));
    constraints += "," + form.constraint.str();
  }
  if (inside) {
    operands.push_back(arith::ExtUIOp::create(builder_, loc, builder_.getI32Type(), inside));
    constraints += ",r";
    text = "{ .reg .pred p; setp.ne.b32 p, $" + std::to_string(count + 1) + ", 0; @p ";
  }
  text += std::string(caching == Caching::kStreamed ? "st.global.cs" : "st.global") +
          vectorSuffix(count) + form.type.str() + " [$0], " + operandList(1, count) + ";";
  if (inside) text += " }";
  inlinePtx(builder_, loc, LLVM::LLVMVoidType::get(builder_.getContext()), text,
            constraints + ",~{memory}", operands, Effects::kSome);
}

Value NvvmMemory::sharedAddress(Location loc, const Array& array) {
  return LLVM::PtrToIntOp::create(builder_, loc, builder_.getI32Type(), array.base);
}

Value NvvmMemory::exchange(Location loc, Value value, int laneBit) {
  const auto i32 = [&](int32_t number) -> Value {
    return arith::ConstantOp::create(builder_, loc, builder_.getI32IntegerAttr(number));
  };
  return LLVM::CallIntrinsicOp::create(builder_, loc, builder_.getI32Type(),
                                       builder_.getStringAttr("llvm.nvvm.shfl.sync.bfly.i32"),
                                       mlir::ValueRange{i32(-1), value, i32(1 << laneBit), i32(31)})
      .getResult(0);
}

void NvvmMemory::atomicAddGlobal(Location loc, Value value, Value address) {
  LLVM::AtomicRMWOp::create(builder_, loc, LLVM::AtomicBinOp::add, globalPointer(loc, address),
                            value, LLVM::AtomicOrdering::monotonic);
}

void NvvmMemory::atomicAddShared(Location loc, Value value, const Array& array, Value index) {
  LLVM::AtomicRMWOp::create(builder_, loc, LLVM::AtomicBinOp::add, wordPointer(loc, array, index),
                            value, LLVM::AtomicOrdering::monotonic);
}

Value NvvmMemory::sharedWords(Location loc, int64_t firstWord) {
  // Dynamic shared memory: the launch says how much (KernelImage::shared_bytes).
  if (!module_.lookupSymbol(kSharedName)) {
    mlir::OpBuilder::InsertionGuard guard(builder_);
    builder_.setInsertionPointToStart(module_.getBody());
    LLVM::GlobalOp::create(builder_, loc, LLVM::LLVMArrayType::get(builder_.getI32Type(), 0),
                           /*isConstant=*/false, LLVM::Linkage::External, kSharedName,
                           mlir::Attribute(), /*alignment=*/1024, kShared);
  }
  const auto pointer = LLVM::LLVMPointerType::get(builder_.getContext(), kShared);
  const Value base = LLVM::AddressOfOp::create(builder_, loc, pointer, kSharedName);
  return LLVM::GEPOp::create(builder_, loc, pointer, builder_.getI32Type(), base,
                             llvm::ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(firstWord)});
}

Value NvvmMemory::wordPointer(Location loc, const Array& array, Value word) {
  return LLVM::GEPOp::create(builder_, loc, array.base.getType(), builder_.getI32Type(), array.base,
                             llvm::ArrayRef<LLVM::GEPArg>{word});
}

Value NvvmMemory::loadWord(Location loc, const Array& array, Value word) {
  return LLVM::LoadOp::create(builder_, loc, builder_.getI32Type(), wordPointer(loc, array, word),
                              4);
}

void NvvmMemory::storeWord(Location loc, Value value, const Array& array, Value word) {
  LLVM::StoreOp::create(builder_, loc, value, wordPointer(loc, array, word), 4);
}

}  // namespace tessera::compiler::simt
