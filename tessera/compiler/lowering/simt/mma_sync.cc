// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/mma_sync.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Value;

SmallVector<Value> multiplyAdd(Emitter& e, PairType type, mlir::ValueRange a, mlir::ValueRange b,
                               mlir::ValueRange sums) {
  SmallVector<Value> operands(a);
  llvm::append_range(operands, b);
  if (type == PairType::kF16)
    for (Value& pair : operands) pair = e.bitcast(pair, e.builder.getF16Type());
  llvm::append_range(operands, sums);
  const mlir::Type result = mlir::LLVM::LLVMStructType::getLiteral(
      e.builder.getContext(), SmallVector<mlir::Type>(kMmaSums, e.f32()));
  const Value all = e.intrinsic(type == PairType::kF16 ? "llvm.nvvm.mma.m16n8k16.row.col.f32.f32"
                                                       : "llvm.nvvm.mma.m16n8k16.row.col.bf16",
                                result, operands);
  SmallVector<Value> next;
  for (int64_t i = 0; i < kMmaSums; ++i)
    next.push_back(mlir::LLVM::ExtractValueOp::create(e.builder, e.loc, all, i));
  return next;
}

}  // namespace tessera::compiler::simt
