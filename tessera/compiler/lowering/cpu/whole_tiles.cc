// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/whole_tiles.h"

#include "llvm/ADT/TypeSwitch.h"
#include "tessera/compiler/lowering/cpu/ranges.h"

namespace tessera::compiler::cpu {

namespace arith = mlir::arith;
using arith::CmpIPredicate;
using llvm::ArrayRef;
using mlir::Value;
using mlir::ValueRange;

namespace {

/// Rows of a product from which on checks of its operands cost nothing beside it.
constexpr int64_t kManyRows = 16;

bool isWorthIt(tile::ForOp loop) {
  bool worth = true;
  loop.getBody().walk([&](mlir::Operation* op) {
    if (llvm::isa<tile::ForOp>(op)) worth = false;
    if (llvm::isa<tile::DotOp, tile::DotScaledOp>(op))
      worth = worth && tile::typeOf(op->getOperand(0)).getShape()[0] < kManyRows;
  });
  return worth;
}

class Finder {
 public:
  Finder(KernelLowering& lowering, tile::ForOp loop) : k(lowering), e(lowering.e), loop_(loop) {
    const Value lo = scalar(loop.getLo()), step = scalar(loop.getStep());
    const Value turns = e.builder.createOrFold<arith::DivSIOp>(
        e.loc, e.sub(e.sub(scalar(loop.getHi()), lo), e.i64(1)), step);
    last_[loop.induction()] = e.add(lo, e.mul(turns, step));
  }

  WholeTiles run() {
    loop_.getBody().walk([&](mlir::Operation* op) {
      if (auto load = llvm::dyn_cast<tile::LoadOp>(op))
        access(load, tile::typeOf(load.getResult()).getShape(), 0);
      if (auto store = llvm::dyn_cast<tile::StoreOp>(op); store && !store.getMask())
        access(store, tile::typeOf(store.getTile()).getShape(), k.streamAlignment(store));
    });
    if (!result_.hold) result_.accesses.clear();
    return result_;
  }

 private:
  Value scalar(Value value) const { return k.evaluator.scalars.at(value); }
  bool isOutside(Value value) { return !loop_.getBody().isAncestor(value.getParentRegion()); }

  /// A scalar in the last turn, from which on it does not grow less; null: not known before.
  Value atLast(Value value) {
    if (isOutside(value)) return scalar(value);
    if (const auto known = last_.find(value); known != last_.end()) return known->second;
    mlir::Operation* op = value.getDefiningOp();
    const Value last = op == nullptr
                           ? Value()
                           : llvm::TypeSwitch<mlir::Operation*, Value>(op)
                                 .Case([&](tile::ConstantOp c) {
                                   return e.i64(static_cast<int64_t>(c.getValue()));
                                 })
                                 .Case([&](tile::ExtentOp x) {
                                   return k.views.extent(static_cast<int64_t>(x.getView()),
                                                         static_cast<int64_t>(x.getDim()));
                                 })
                                 .Case([&](tile::AddOp o) { return both<arith::AddIOp>(o); })
                                 .Case([&](tile::MulOp o) {
                                   return isNonNegative(o.getA()) && isNonNegative(o.getB())
                                              ? both<arith::MulIOp>(o)
                                              : Value();
                                 })
                                 .Case([&](tile::DivOp o) { return quotient(o); })
                                 .Default(Value());
    return last_[value] = last;
  }
  template <class Arith, class Op>
  Value both(Op op) {
    const Value a = atLast(op.getA()), b = atLast(op.getB());
    return a && b ? e.builder.createOrFold<Arith>(e.loc, a, b) : Value();
  }
  Value quotient(tile::DivOp op) {
    auto by = op.getB().getDefiningOp<tile::ConstantOp>();
    if (!by || static_cast<int64_t>(by.getValue()) <= 0 || !isNonNegative(op.getA())) return {};
    return both<arith::DivSIOp>(op);
  }

  /// `streamAlignment`: of a store past the caches; 0: none.
  template <class Op>
  void access(Op op, ArrayRef<int64_t> shape, int64_t streamAlignment) {
    const auto view = static_cast<int64_t>(op.getView());
    const ValueRange offsets = op.getOffsets();
    const int64_t rank = static_cast<int64_t>(offsets.size());
    const int64_t plain = rank - static_cast<int64_t>(shape.size());
    Value hold;
    size_t next = 0;
    for (int64_t dim = 0; dim < rank; ++dim) {
      const Value override = (op.getOverridden() >> dim) & 1 ? op.getOverrides()[next++] : Value();
      const Value offset = offsets[dim];
      const int64_t count = dim < plain ? 1 : shape[dim - plain];
      if (!isNonNegative(offset)) return;
      if (fitsBelow(offset, count, view, dim, override, k.views.extentDivisor(view, dim))) continue;
      const Value last = atLast(offset);
      if (!last || (override && !isOutside(override))) return;
      const Value extent = override ? scalar(override) : k.views.extent(view, dim);
      hold = together(hold, e.compare(CmpIPredicate::sle, e.add(last, e.i64(count)), extent));
    }
    if (streamAlignment != 0) {
      const int64_t unit = divisorOf(offsets.back()) * bits(k.views.dtype(view)) / 8;
      if (unit % streamAlignment != 0) return;
      const Value low = e.andi(k.views.alignmentBits(view), streamAlignment - 1);
      hold = together(hold, e.compare(CmpIPredicate::eq, low, e.i64(0)));
    }
    result_.accesses.insert(op);
    result_.hold = together(result_.hold, hold);
  }
  Value together(Value a, Value b) {
    if (!a) return b;
    return b ? e.andi(a, b) : a;
  }

  KernelLowering& k;
  Emitter& e;
  tile::ForOp loop_;
  llvm::DenseMap<Value, Value> last_;
  WholeTiles result_;
};

}  // namespace

WholeTiles findWholeTiles(KernelLowering& k, tile::ForOp loop) {
  if (!isWorthIt(loop)) return {};
  return Finder(k, loop).run();
}

}  // namespace tessera::compiler::cpu
