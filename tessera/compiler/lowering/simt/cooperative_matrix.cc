// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/cooperative_matrix.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"

namespace tessera::compiler::simt {

namespace spirv = mlir::spirv;
using mlir::Location;
using mlir::Type;
using mlir::Value;
using spirv::CooperativeMatrixLayoutKHR;
using spirv::CooperativeMatrixUseKHR;

namespace {

constexpr int32_t kRowAlignment = 16;

Type matrixType(Type element, CooperativeMatrixUseKHR use) {
  return spirv::CooperativeMatrixType::get(element, CooperativeMatrix::kSize,
                                           CooperativeMatrix::kSize, spirv::Scope::Subgroup, use);
}

/// Other threads wrote what is loaded, and read what is stored.
spirv::MemoryAccessAttr access(mlir::OpBuilder& builder) {
  return spirv::MemoryAccessAttr::get(
      builder.getContext(), spirv::MemoryAccess::Aligned | spirv::MemoryAccess::NonPrivatePointer);
}

}  // namespace

Type CooperativeMatrix::sumsType() {
  return matrixType(builder_.getF32Type(), CooperativeMatrixUseKHR::MatrixAcc);
}

Value CooperativeMatrix::constant(Location loc, int64_t value) {
  return spirv::ConstantOp::create(builder_, loc, builder_.getI32Type(),
                                   builder_.getI32IntegerAttr(static_cast<int32_t>(value)));
}

Value CooperativeMatrix::declareSums(Location loc) {
  mlir::OpBuilder::InsertionGuard guard(builder_);
  auto function =
      builder_.getInsertionBlock()->getParentOp()->getParentOfType<mlir::func::FuncOp>();
  if (!function)
    function = llvm::cast<mlir::func::FuncOp>(builder_.getInsertionBlock()->getParentOp());
  builder_.setInsertionPointToStart(&function.front());
  return spirv::VariableOp::create(
      builder_, loc, spirv::PointerType::get(sumsType(), spirv::StorageClass::Function),
      spirv::StorageClass::Function, /*initializer=*/Value());
}

Value CooperativeMatrix::zeros(Location loc) {
  const Value zero =
      spirv::ConstantOp::create(builder_, loc, builder_.getF32Type(), builder_.getF32FloatAttr(0));
  return spirv::CompositeConstructOp::create(builder_, loc, sumsType(), mlir::ValueRange{zero});
}

Value CooperativeMatrix::sums(Location loc, Value variable) {
  return spirv::LoadOp::create(builder_, loc, variable);
}

void CooperativeMatrix::keepSums(Location loc, Value sums, Value variable) {
  spirv::StoreOp::create(builder_, loc, variable, sums);
}

Value CooperativeMatrix::load(Location loc, Operand operand, const Array& array, Value word,
                              int64_t stride) {
  const bool isA = operand == Operand::kA;
  return spirv::KHRCooperativeMatrixLoadOp::create(
      builder_, loc,
      matrixType(builder_.getBF16Type(),
                 isA ? CooperativeMatrixUseKHR::MatrixA : CooperativeMatrixUseKHR::MatrixB),
      memory_.piecePointer(loc, array, word),
      operand == Operand::kTurnedB ? CooperativeMatrixLayoutKHR::ColumnMajor
                                   : CooperativeMatrixLayoutKHR::RowMajor,
      constant(loc, stride / ThreadMemory::kPieceWords), access(builder_),
      builder_.getI32IntegerAttr(kRowAlignment));
}

Value CooperativeMatrix::multiplyAdd(Location loc, Value a, Value b, Value sums) {
  return spirv::KHRCooperativeMatrixMulAddOp::create(builder_, loc, a, b, sums);
}

void CooperativeMatrix::store(Location loc, Value sums, const Array& array, Value word,
                              int64_t stride) {
  spirv::KHRCooperativeMatrixStoreOp::create(
      builder_, loc, memory_.piecePointer(loc, array, word), sums,
      CooperativeMatrixLayoutKHR::RowMajor, constant(loc, stride / ThreadMemory::kPieceWords),
      access(builder_), builder_.getI32IntegerAttr(kRowAlignment));
}

}  // namespace tessera::compiler::simt
