// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/placement.h"

#include "tessera/compiler/lowering/lanes/elementwise.h"

namespace tessera::compiler::simt {
namespace {

using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

/// Worth keeping when more than one consumer, or a consumer that reads elements repeatedly, asks
/// for it.
bool isExpensive(Operation* op) {
  return llvm::isa<ExpOp, Exp2Op, LogOp, Log1pOp, SqrtOp, RsqrtOp, SigmoidOp, SinOp, CosOp, DivOp,
                   RemOp, RandomBitsOp>(op);
}

bool isAlwaysRoot(Operation* op) {
  // join and concat evaluate both sources at every element: chains of them would grow
  // exponentially.
  return llvm::isa<ReduceOp, ScanOp, HistogramOp, SortOp, DotOp, DotScaledOp, ForOp, IfOp, JoinOp,
                   ConcatOp>(op);
}

bool isReadRepeatedly(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation* user) { return !keepsOrder(user); });
}

/// A load from memory that the kernel also writes must happen where it stands.
bool readsWhatIsWritten(KernelOp kernel, Operation* op) {
  int64_t view = -1;
  if (auto load = llvm::dyn_cast<LoadOp>(op)) view = load.getView();
  if (auto gather = llvm::dyn_cast<GatherOp>(op)) view = gather.getView();
  return view >= 0 && kernel.view(view).getAccess() != Access::read;
}

}  // namespace

bool keepsOrder(Operation* op) { return isElementwise(op) || llvm::isa<ReshapeOp>(op); }

Placement::Placement(KernelOp kernel) : kernel_(kernel) {
  findRoots();
  kernel_->walk([&](Operation* op) { visitUses(op); });
  // A loop's argument, result and initial value share one place, and so do the results of a branch.
  kernel_->walk([&](ForOp loop) {
    for (auto [argument, result] :
         llvm::zip(loop.getBody().getArguments().drop_front(), loop.getResults()))
      unite(argument, result);
  });
}

void Placement::findRoots() {
  kernel_->walk([&](Operation* op) {
    for (Value result : op->getResults()) {
      if (isScalar(result)) continue;
      const bool shared_work = isExpensive(op) && (!result.hasOneUse() || isReadRepeatedly(result));
      if (isAlwaysRoot(op) || shared_work || readsWhatIsWritten(kernel_, op))
        spaces_[result] = Space::kPrivate;
    }
    if (auto loop = llvm::dyn_cast<ForOp>(op))
      for (Value argument : loop.getBody().getArguments().drop_front())
        if (!isScalar(argument)) spaces_[argument] = Space::kPrivate;
  });
}

void Placement::unite(Value a, Value b) {
  if (!isRoot(a) || (space(a) == Space::kPrivate && space(b) == Space::kPrivate)) return;
  spaces_[a] = spaces_[b] = Space::kShared;
}

void Placement::read(Value value, bool aligned) {
  if (isRoot(value)) {
    if (!aligned) spaces_[value] = Space::kShared;
    return;
  }
  Operation* op = value.getDefiningOp();
  if (!op) return;
  const bool in_order = aligned && keepsOrder(op);
  if (auto gather = llvm::dyn_cast<GatherOp>(op)) return read(gather.getRows(), false);
  for (Value operand : op->getOperands())
    if (!isScalar(operand)) read(operand, in_order);
}

void Placement::visitUses(Operation* op) {
  // Lazy operations are followed from the place that evaluates them.
  if (auto store = llvm::dyn_cast<StoreOp>(op)) {
    const bool packed = dtypeOf(typeOf(store.getTile()).getElementType()) == DType::f4e2m1;
    read(store.getTile(), !packed);
    if (store.getMask()) read(store.getMask(), !packed);
  } else if (llvm::isa<ScatterOp, AtomicAddOp>(op)) {
    read(op->getOperand(op->getNumOperands() - 1), true);
    read(op->getOperand(op->getNumOperands() - 2), false);
  } else if (llvm::isa<DotOp, DotScaledOp>(op)) {
    for (Value operand : op->getOperands()) read(operand, operand == op->getOperand(2));
  } else if (llvm::isa<ReduceOp>(op)) {
    for (Value operand : op->getOperands()) read(operand, false);
  } else if (llvm::isa<ScanOp, HistogramOp>(op)) {
    for (Value operand : op->getOperands()) read(operand, true);
    spaces_[op->getResult(0)] = Space::kShared;  // summed up in place
  } else if (llvm::isa<SortOp>(op)) {
    for (Value operand : op->getOperands()) read(operand, true);
    for (Value result : op->getResults()) spaces_[result] = Space::kShared;  // exchanged in place
  } else if (auto loop = llvm::dyn_cast<ForOp>(op)) {
    for (Value init : loop.getInits())
      if (!isScalar(init)) read(init, true);
  } else if (auto yield = llvm::dyn_cast<YieldOp>(op)) {
    for (Value value : yield.getValues())
      if (!isScalar(value)) read(value, true);
  } else if (op->getNumResults() > 0 &&
             isRoot(op->getResult(0))) {  // a kept elementwise value or load
    for (Value operand : op->getOperands())
      if (!isScalar(operand)) read(operand, keepsOrder(op));
    if (auto gather = llvm::dyn_cast<GatherOp>(op)) read(gather.getRows(), false);
  } else if (op->getNumResults() > 0 && isScalar(op->getResult(0))) {  // reshape to a scalar
    for (Value operand : op->getOperands())
      if (!isScalar(operand)) read(operand, false);
  }
}

}  // namespace tessera::compiler::simt
