// SPDX-License-Identifier: Apache-2.0
// Which tiles are stored and which are evaluated inside their consumers.
//
// Evaluating a tile where it is used needs no memory and fuses loops; storing it saves work when it
// is used more than once. Consumers are what has an order of its own: stores, reductions, products,
// loops and roots. A tile is a root if
//   - it cannot be evaluated point by point (reduce, scan, sort, take, histogram, concat, gather,
//   dot),
//   - it is dear and has several consumers, or one inside a loop it is outside of, or is stretched
//   by
//     a broadcast,
//   - it is a load and something is written between it and its last consumer, or it is stored to
//   its
//     own view at another position,
//   - it is sliced at a start that chunks of the slice do not line up with.
// Operations with regions and constants are never marked.
#include <algorithm>

#include "llvm/ADT/TypeSwitch.h"
#include "tessera/compiler/ir/node_form.h"
#include "tessera/compiler/ir/tile_dialect.h"
#include "tessera/compiler/passes/consumers.h"
#include "tessera/compiler/passes/passes.h"

namespace tessera::compiler {
namespace {

using lang::Opcode;
using mlir::Operation;
using mlir::Value;

/// Cost of one element above which a tile is rather stored than evaluated twice.
constexpr int64_t kDear = 6;

int64_t castCost(DType from, DType to) {
  for (DType type : {from, to}) {
    if (type == DType::f8e4m3 || type == DType::f8e5m2 || type == DType::f4e2m1 ||
        type == DType::f16)
      return 6;
  }
  return to == DType::bf16 ? 4 : 1;
}

bool writesMemory(Operation* op) {
  return op
      ->walk([](Operation* inner) {
        return llvm::isa<tile::StoreOp, tile::ScatterOp, tile::AtomicAddOp>(inner)
                   ? mlir::WalkResult::interrupt()
                   : mlir::WalkResult::advance();
      })
      .wasInterrupted();
}

class RootMarker {
 public:
  explicit RootMarker(tile::KernelOp kernel) : kernel_(kernel) {}

  void run() {
    kernel_.walk<mlir::WalkOrder::PreOrder>([&](Operation* op) { estimate(op); });
    // Users before definitions: whether a user is a root decides who the consumers are.
    markBlock(kernel_.getBody().front());
  }

 private:
  void estimate(Operation* op) {
    const auto opcode = tile::opcodeOf(op);
    if (!opcode || op->getNumResults() == 0 || !isPointwise(*opcode)) return;
    int64_t cost = costOf(op);
    for (Value operand : op->getOperands())
      if (Operation* inner = operand.getDefiningOp(); inner && !tile::isScalar(operand))
        cost += costs_.lookup(inner);
    costs_[op] = std::min<int64_t>(cost, 1000);
  }

  void markBlock(mlir::Block& block) {
    for (Operation& op : llvm::reverse(block)) {
      for (mlir::Region& region : op.getRegions())
        for (mlir::Block& inner : region) markBlock(inner);
      if (isRoot(&op)) op.setAttr(kRootAttribute, mlir::UnitAttr::get(op.getContext()));
    }
  }

  bool isRoot(Operation* op) {
    const auto opcode = tile::opcodeOf(op);
    if (!opcode || op->getNumResults() == 0 || op->getNumRegions() > 0 ||
        tile::isScalar(op->getResult(0)))
      return false;
    if (!isPointwise(*opcode)) return true;
    if (*opcode == Opcode::kConstant || *opcode == Opcode::kIota) return false;
    const Consumers consumers = consumersOf(op);
    if (consumers.empty()) return false;
    if (*opcode == Opcode::kLoad) return loadMustBeStored(llvm::cast<tile::LoadOp>(op), consumers);
    if (slicedOutOfLine(op)) return true;
    const int64_t cost = costs_.lookup(op);
    if (cost <= 1) return false;
    if (stretched(op)) return true;
    const bool repeated = consumers.size() > 1 ||
                          llvm::any_of(consumers, [&](Operation* c) { return inInnerLoop(op, c); });
    return repeated && (cost >= kDear ||
                        llvm::any_of(consumers, [&](Operation* c) { return inInnerLoop(op, c); }));
  }

  Consumers consumersOf(Operation* op) {
    Consumers found;
    for (Value result : op->getResults()) found.insert_range(compiler::consumersOf(result));
    return found;
  }

  static bool inInnerLoop(Operation* op, Operation* consumer) {
    for (Operation* at = consumer->getParentOp(); at != nullptr && at != op->getParentOp();
         at = at->getParentOp())
      if (llvm::isa<tile::ForOp>(at)) return true;
    return false;
  }

  /// A broadcast that repeats elements reads it.
  static bool stretched(Operation* op) {
    return llvm::any_of(op->getUsers(), [&](Operation* user) {
      return llvm::isa<tile::BroadcastOp>(user) &&
             tile::typeOf(user->getResult(0)).getNumElements() >
                 tile::typeOf(op->getResult(0)).getNumElements();
    });
  }

  static bool slicedOutOfLine(Operation* op) {
    return llvm::any_of(op->getUsers(), [&](Operation* user) {
      auto slice = llvm::dyn_cast<tile::SliceOp>(user);
      if (!slice) return false;
      const int64_t extent = tile::typeOf(slice.getResult()).getShape()[slice.getAxis()];
      return static_cast<int64_t>(slice.getStart()) % extent != 0;
    });
  }

  bool loadMustBeStored(tile::LoadOp load, const Consumers& consumers) {
    mlir::Block* block = load->getBlock();
    Operation* last = load;
    for (Operation* consumer : consumers) {
      Operation* here = block->findAncestorOpInBlock(*consumer);
      if (here != nullptr && last->isBeforeInBlock(here)) last = here;
    }
    for (Operation* op = load->getNextNode(); op != nullptr && op != last; op = op->getNextNode())
      if (writesMemory(op)) return true;
    if (auto store = llvm::dyn_cast<tile::StoreOp>(last))
      return store.getView() == load.getView() && !inPlace(load, store);
    return writesMemory(last);
  }

  /// The store overwrites exactly what was loaded, element by element.
  static bool inPlace(tile::LoadOp load, tile::StoreOp store) {
    if (load.getOffsets() != store.getOffsets() ||
        load.getResult().getType() != store.getTile().getType())
      return false;
    return llvm::all_of(load->getUsers(), [&](Operation* user) {
      while (user != store) {
        const auto opcode = tile::opcodeOf(user);
        if (!opcode || *opcode < Opcode::kNeg || *opcode > Opcode::kFma || !user->hasOneUse())
          return false;
        user = *user->user_begin();
      }
      return true;
    });
  }

  tile::KernelOp kernel_;
  llvm::DenseMap<Operation*, int64_t> costs_;
};

struct MarkRootsPass : mlir::PassWrapper<MarkRootsPass, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(MarkRootsPass)

  llvm::StringRef getArgument() const override { return "tile-mark-roots"; }
  llvm::StringRef getDescription() const override {
    return "mark tiles that are stored, not evaluated late";
  }

  void runOnOperation() override {
    getOperation().walk([](tile::KernelOp kernel) { RootMarker(kernel).run(); });
  }
};

}  // namespace

int64_t costOf(Operation* op) {
  const auto opcode = tile::opcodeOf(op);
  switch (opcode.value_or(Opcode::kAdd)) {
    case Opcode::kConstant:
    case Opcode::kIota:
    case Opcode::kReshape:
    case Opcode::kTranspose:
    case Opcode::kBroadcast:
    case Opcode::kSlice: return 0;
    case Opcode::kExp:
    case Opcode::kExp2:
    case Opcode::kLog: return 10;
    case Opcode::kLog1p:
    case Opcode::kSigmoid: return 16;
    case Opcode::kSin:
    case Opcode::kCos:
    case Opcode::kRandomBits: return 30;
    case Opcode::kDiv:
    case Opcode::kRem:
    case Opcode::kSqrt:
    case Opcode::kRsqrt: return 8;
    case Opcode::kLookup: return 3;
    case Opcode::kCast:
      return castCost(tile::dtypeOf(op->getOperand(0)), tile::dtypeOf(op->getResult(0)));
    default: return 1;
  }
}

bool isPointwise(Opcode op) {
  if (op >= Opcode::kConstant && op <= Opcode::kLoad) return true;
  if (op >= Opcode::kNeg && op <= Opcode::kJoin) return op != Opcode::kConcat;
  return op == Opcode::kLookup || op == Opcode::kRandomBits;
}

Consumers consumersOf(Value tile) {
  Consumers found;
  for (Operation* user : tile.getUsers()) {
    const auto opcode = tile::opcodeOf(user);
    const bool late = opcode && isPointwise(*opcode) && user->getNumResults() > 0 &&
                      !user->hasAttr(kRootAttribute) && !tile::isScalar(user->getResult(0));
    if (!late) {
      found.insert(user);
      continue;
    }
    for (Value result : user->getResults()) found.insert_range(consumersOf(result));
  }
  return found;
}

std::unique_ptr<mlir::Pass> createMarkRootsPass() { return std::make_unique<MarkRootsPass>(); }

}  // namespace tessera::compiler
