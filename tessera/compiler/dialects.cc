// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/dialects.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "tessera/compiler/ir/tile_dialect.h"

namespace tessera::compiler {

const mlir::DialectRegistry& dialects() {
  static const mlir::DialectRegistry registry = [] {
    mlir::DialectRegistry all;
    all.insert<mlir::arith::ArithDialect, mlir::cf::ControlFlowDialect, mlir::func::FuncDialect,
               mlir::LLVM::LLVMDialect, mlir::math::MathDialect, mlir::NVVM::NVVMDialect,
               mlir::scf::SCFDialect, mlir::spirv::SPIRVDialect, mlir::vector::VectorDialect,
               tile::TileDialect>();
    mlir::registerBuiltinDialectTranslation(all);
    mlir::registerLLVMDialectTranslation(all);
    mlir::registerNVVMDialectTranslation(all);
    return all;
  }();
  return registry;
}

}  // namespace tessera::compiler
