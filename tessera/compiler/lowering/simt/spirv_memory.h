// SPDX-License-Identifier: Apache-2.0
// ThreadMemory in SPIR-V for Vulkan: buffers by device address, arguments in a uniform buffer,
// one array of words for the workgroup.
#pragma once

#include "llvm/ADT/DenseMap.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "tessera/compiler/lowering/simt/thread_memory.h"

namespace tessera::compiler::simt {

class SpirvMemory final : public ThreadMemory {
 public:
  /// Declares the variables of the shader at the start of `module`, whose memory model decides how
  /// accesses are marked; `entry` is the shader's first block.
  SpirvMemory(mlir::OpBuilder& builder, mlir::spirv::ModuleOp module, mlir::Block* entry,
              int64_t slotCount);

  mlir::Value slot(mlir::Location loc, uint32_t index) override;
  mlir::Value gridXy(mlir::Location loc) override { return pushConstant(loc, 1); }
  mlir::Value programs(mlir::Location loc) override { return pushConstant(loc, 2); }
  mlir::Value workgroup(mlir::Location loc) override;
  mlir::Value workgroupCount(mlir::Location loc) override;
  mlir::Value threadId(mlir::Location loc) override;
  mlir::Value slotsAligned(mlir::Location loc, llvm::ArrayRef<uint32_t> slots,
                           int64_t bytes) override;
  void barrier(mlir::Location loc) override;
  Units loadGlobal(mlir::Location loc, mlir::Type unit, int64_t count, mlir::Value address,
                   mlir::Value inside, mlir::Value fill, Caching caching) override;
  void storeGlobal(mlir::Location loc, mlir::ValueRange units, mlir::Value address,
                   mlir::Value inside, Caching caching) override;
  void atomicAddGlobal(mlir::Location loc, mlir::Value value, mlir::Value address) override;
  mlir::Value sharedAddress(mlir::Location loc, const Array& array) override;
  Units loadPiece(mlir::Location loc, const Array& array, mlir::Value word) override;
  void storePiece(mlir::Location loc, mlir::ValueRange words, const Array& array,
                  mlir::Value word) override;
  mlir::Value piecePointer(mlir::Location loc, const Array& array, mlir::Value word) override;
  mlir::Value subgroup(mlir::Location loc) override { return read(loc, subgroupId_); }
  mlir::Value fromLane(mlir::Location loc, mlir::Value value, int laneBits, int lane) override;
  mlir::Value exchange(mlir::Location loc, mlir::Value value, int laneBit) override;
  void atomicAddShared(mlir::Location loc, mlir::Value value, const Array& array,
                       mlir::Value index) override;

  /// Sizes the workgroup's array once the lowering knows it.
  void setSharedWords(int64_t words);
  /// The global variables the entry point uses.
  llvm::SmallVector<mlir::spirv::GlobalVariableOp> interface() const;

 private:
  mlir::Value sharedWords(mlir::Location loc, int64_t firstWord) override;
  mlir::Value loadWord(mlir::Location loc, const Array& array, mlir::Value word) override;
  void storeWord(mlir::Location loc, mlir::Value value, const Array& array,
                 mlir::Value word) override;

  mlir::Value loadOne(mlir::Location loc, mlir::Type type, mlir::Value address,
                      Caching caching = Caching::kReadOnly);
  bool hasVulkanModel() const;
  mlir::Type sharedUnit() const;
  mlir::Value sharedUnitPointer(mlir::Location loc, mlir::ValueRange indices, mlir::Type type);
  Units partsOf(mlir::Location loc, mlir::Value all, int64_t count);
  mlir::Value joined(mlir::Location loc, mlir::ValueRange units);
  mlir::spirv::MemoryAccessAttr shared(mlir::spirv::MemoryAccess access) const;
  mlir::Value read(mlir::Location loc, mlir::spirv::GlobalVariableOp variable);
  mlir::Value pushConstant(mlir::Location loc, int64_t index) {
    return member(loc, constants_, index);
  }
  mlir::Value member(mlir::Location loc, mlir::spirv::GlobalVariableOp block, int64_t index);
  mlir::Value slots(mlir::Location loc);  // their address
  mlir::Value builtin(mlir::Location loc, mlir::spirv::GlobalVariableOp variable);
  mlir::Value globalPointer(mlir::Location loc, mlir::Type type, mlir::Value address);
  mlir::Value wordPointer(mlir::Location loc, const Array& array, mlir::Value word);
  mlir::spirv::GlobalVariableOp declare(llvm::StringRef name, mlir::Type type,
                                        mlir::spirv::StorageClass space);
  mlir::spirv::GlobalVariableOp declareBuiltin(llvm::StringRef name, llvm::StringRef builtin,
                                               mlir::Type type);

  mlir::spirv::ModuleOp module_;
  mlir::Block* entry_;
  mlir::Value firstSlot_;
  llvm::DenseMap<uint32_t, mlir::Value> slots_;  // loaded once, at the start of the entry block
  mlir::spirv::GlobalVariableOp constants_, arguments_, workgroupId_, workgroupCount_, subgroupId_,
      subgroupSize_, lane_, shared_;
};

}  // namespace tessera::compiler::simt
