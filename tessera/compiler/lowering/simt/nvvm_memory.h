// SPDX-License-Identifier: Apache-2.0
// ThreadMemory in LLVM's dialect for NVPTX: the slots are kernel parameters, followed by gridXy and
// programs, and by tensor maps.
#pragma once

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/compiler/lowering/simt/thread_memory.h"

namespace tessera::compiler::simt {

class NvvmMemory final : public ThreadMemory {
 public:
  /// `entry` is the entry block of the kernel function in `module`; its arguments are the
  /// parameters.
  NvvmMemory(mlir::OpBuilder& builder, mlir::ModuleOp module, mlir::Block* entry,
             uint32_t slotCount)
      : ThreadMemory(builder), module_(module), entry_(entry), slotCount_(slotCount) {}

  mlir::Value slot(mlir::Location, uint32_t index) override { return entry_->getArgument(index); }
  mlir::Value gridXy(mlir::Location) override { return entry_->getArgument(slotCount_); }
  mlir::Value programs(mlir::Location) override { return entry_->getArgument(slotCount_ + 1); }
  mlir::Value tensorMap(mlir::Location loc, uint32_t index) override;
  mlir::Value workgroup(mlir::Location loc) override;
  mlir::Value workgroupCount(mlir::Location loc) override;
  std::optional<Launch> launch(mlir::Location loc) override;
  mlir::Value threadId(mlir::Location loc) override;
  void barrier(mlir::Location loc) override;
  mlir::Value opaque(mlir::Location loc, mlir::Value value) override;
  Units loadGlobal(mlir::Location loc, mlir::Type unit, int64_t count, mlir::Value address,
                   mlir::Value inside, mlir::Value fill, Caching caching) override;
  void storeGlobal(mlir::Location loc, mlir::ValueRange units, mlir::Value address,
                   mlir::Value inside, Caching caching) override;
  void atomicAddGlobal(mlir::Location loc, mlir::Value value, mlir::Value address) override;
  mlir::Value sharedAddress(mlir::Location loc, const Array& array) override;
  mlir::Value exchange(mlir::Location loc, mlir::Value value, int laneBit) override;
  void atomicAddShared(mlir::Location loc, mlir::Value value, const Array& array,
                       mlir::Value index) override;

 private:
  mlir::Value sharedWords(mlir::Location loc, int64_t firstWord) override;
  mlir::Value loadWord(mlir::Location loc, const Array& array, mlir::Value word) override;
  void storeWord(mlir::Location loc, mlir::Value value, const Array& array,
                 mlir::Value word) override;

  mlir::Value special(mlir::Location loc, llvm::StringRef name);
  mlir::Value globalPointer(mlir::Location loc, mlir::Value address);
  mlir::Value wordPointer(mlir::Location loc, const Array& array, mlir::Value word);

  mlir::ModuleOp module_;
  mlir::Block* entry_;
  uint32_t slotCount_;
};

}  // namespace tessera::compiler::simt
