// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/carried_product.h"

namespace tessera::compiler::simt {

using namespace tile;  // the dialect's operations

std::optional<CarriedProduct> carriedProduct(ForOp loop, size_t carried) {
  mlir::Operation* dot = loop.yielded()[carried].getDefiningOp();
  if (!dot || !llvm::isa<DotOp, DotScaledOp>(dot) || dot->getBlock() != &loop.getBody().front() ||
      dot->getOperand(2) != loop.getBody().getArgument(1 + static_cast<unsigned>(carried)) ||
      tile::dtypeOf(dot->getResult(0)) != DType::f32)
    return std::nullopt;
  CarriedProduct found{
      .dot = dot, .a = dot->getOperand(0), .b = dot->getOperand(1), .aScale = {}, .bScale = {}};
  if (auto plain = llvm::dyn_cast<DotOp>(dot)) {
    if (plain.getBIsKn()) return std::nullopt;
  } else {
    found.aScale = llvm::cast<DotScaledOp>(dot).getAScale();
    found.bScale = llvm::cast<DotScaledOp>(dot).getBScale();
  }
  return found;
}

}  // namespace tessera::compiler::simt
