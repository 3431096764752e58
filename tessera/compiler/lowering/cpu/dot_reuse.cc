// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_reuse.h"

#include "tessera/compiler/ir/node_form.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/passes/consumers.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Operation;
using mlir::Value;

/// Operands of a product that make up its left side.
llvm::SmallVector<mlir::OpOperand*> leftOperands(Operation* product) {
  llvm::SmallVector<mlir::OpOperand*> found = {&product->getOpOperand(0)};
  if (auto scaled = llvm::dyn_cast<tile::DotScaledOp>(product))
    if (scaled.getAScale())
      for (mlir::OpOperand& operand : scaled.getAScaleMutable()) found.push_back(&operand);
  return found;
}

class Slice {
 public:
  explicit Slice(Operation* product) : product_(product) {}

  std::optional<DotSource> run() {
    for (mlir::OpOperand* operand : leftOperands(product_))
      if (!visitTile(operand->get())) return std::nullopt;
    for (Operation& op : llvm::reverse(*product_->getBlock()))
      if (visited_.contains(&op) && isOwn(&op)) source_.own.push_back(&op);
    std::reverse(source_.own.begin(), source_.own.end());
    return source_;
  }

 private:
  bool visitTile(Value value) {
    Operation* op = value.getDefiningOp();
    if (op == nullptr) return false;
    if (!visited_.insert(op).second) return true;
    const auto opcode = tile::opcodeOf(op);
    if (!opcode) return false;
    if (auto load = llvm::dyn_cast<tile::LoadOp>(op)) {
      if (!isReadOnly(load, load.getView())) return false;
    } else if (auto gather = llvm::dyn_cast<tile::GatherOp>(op)) {
      if (!isReadOnly(gather, gather.getView())) return false;
    } else if (!isPointwise(*opcode)) {
      return false;
    }
    for (Value operand : op->getOperands()) {
      if (tile::isScalar(operand))
        visitScalar(operand);
      else if (!visitTile(operand))
        return false;
    }
    return true;
  }

  /// Looks through arithmetic: k and k / 128 are one leaf.
  void visitScalar(Value value) {
    Operation* op = value.getDefiningOp();
    if (llvm::isa_and_nonnull<tile::ConstantOp, tile::ExtentOp, tile::ScalarArgOp,
                              tile::NumProgramsOp>(op))
      return;
    const auto opcode = op ? tile::opcodeOf(op) : std::nullopt;
    const bool transparent = opcode && isPointwise(*opcode) && op->getNumOperands() > 0 &&
                             !llvm::isa<tile::LoadOp>(op) &&
                             llvm::all_of(op->getOperands(), tile::isScalar);
    if (!transparent) {
      source_.leaves.insert(value);
      return;
    }
    for (Value operand : op->getOperands()) visitScalar(operand);
  }

  static bool isReadOnly(Operation* op, uint64_t view) {
    auto kernel = op->getParentOfType<tile::KernelOp>();
    return llvm::cast<tile::ViewAttr>(kernel.getViews()[view]).getAccess() == tile::Access::read;
  }

  /// Later operations of the block were looked at before.
  bool isOwn(Operation* op) {
    if (tile::isScalar(op->getResult(0))) return false;
    const auto left = leftOperands(product_);
    const bool own = llvm::all_of(op->getUses(), [&](mlir::OpOperand& use) {
      return use.getOwner() == product_ ? llvm::is_contained(left, &use)
                                        : own_.contains(use.getOwner());
    });
    if (own) own_.insert(op);
    return own;
  }

  Operation* product_;
  DotSource source_;
  llvm::SmallPtrSet<Operation*, 8> visited_, own_;
};

}  // namespace

std::optional<DotSource> sourceOfA(Operation* product) { return Slice(product).run(); }

}  // namespace tessera::compiler::cpu
