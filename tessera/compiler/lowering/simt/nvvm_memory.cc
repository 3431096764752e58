// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/nvvm_memory.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

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

Value NvvmMemory::workgroup(Location loc) {
  return arith::ExtUIOp::create(builder_, loc, builder_.getI64Type(), special(loc, "ctaid.x"));
}
Value NvvmMemory::workgroupCount(Location loc) {
  return arith::ExtUIOp::create(builder_, loc, builder_.getI64Type(), special(loc, "nctaid.x"));
}
Value NvvmMemory::threadId(Location loc) { return special(loc, "tid.x"); }

void NvvmMemory::barrier(Location loc) {
  const Value zero = arith::ConstantOp::create(builder_, loc, builder_.getI32IntegerAttr(0));
  LLVM::CallIntrinsicOp::create(builder_, loc,
                                builder_.getStringAttr("llvm.nvvm.barrier.cta.sync.aligned.all"),
                                mlir::ValueRange{zero});
}

Value NvvmMemory::globalPointer(Location loc, Value address) {
  return LLVM::IntToPtrOp::create(
      builder_, loc, LLVM::LLVMPointerType::get(builder_.getContext(), kGlobal), address);
}

Value NvvmMemory::loadGlobal(Location loc, Type type, Value address) {
  return LLVM::LoadOp::create(builder_, loc, type, globalPointer(loc, address),
                              type.getIntOrFloatBitWidth() / 8);
}

void NvvmMemory::storeGlobal(Location loc, Value value, Value address) {
  LLVM::StoreOp::create(builder_, loc, value, globalPointer(loc, address),
                        value.getType().getIntOrFloatBitWidth() / 8);
}

void NvvmMemory::atomicAddGlobal(Location loc, Value value, Value address) {
  LLVM::AtomicRMWOp::create(builder_, loc, LLVM::AtomicBinOp::add, globalPointer(loc, address),
                            value, LLVM::AtomicOrdering::monotonic);
}

void NvvmMemory::atomicAddShared(Location loc, Value value, const Array& array, Value index) {
  LLVM::AtomicRMWOp::create(builder_, loc, LLVM::AtomicBinOp::add, wordPointer(loc, array, index),
                            value, LLVM::AtomicOrdering::monotonic);
}

Value NvvmMemory::privateWords(Location loc, int64_t count) {
  mlir::OpBuilder::InsertionGuard guard(builder_);
  builder_.setInsertionPointToStart(entry_);
  const auto array = LLVM::LLVMArrayType::get(builder_.getI32Type(), static_cast<uint64_t>(count));
  const Value one =
      LLVM::ConstantOp::create(builder_, loc, builder_.getI32Type(), builder_.getI32IntegerAttr(1));
  return LLVM::AllocaOp::create(builder_, loc, LLVM::LLVMPointerType::get(builder_.getContext()),
                                array, one);
}

Value NvvmMemory::sharedWords(Location loc, int64_t firstWord) {
  // Dynamic shared memory: the launch says how much (KernelImage::shared_bytes).
  if (!module_.lookupSymbol(kSharedName)) {
    mlir::OpBuilder::InsertionGuard guard(builder_);
    builder_.setInsertionPointToStart(module_.getBody());
    LLVM::GlobalOp::create(builder_, loc, LLVM::LLVMArrayType::get(builder_.getI32Type(), 0),
                           /*isConstant=*/false, LLVM::Linkage::External, kSharedName,
                           mlir::Attribute(), /*alignment=*/16, kShared);
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
