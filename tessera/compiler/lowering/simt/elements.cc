// SPDX-License-Identifier: Apache-2.0
// Evaluating elements of tiles: who owns them, and what they are made of.
#include "llvm/Support/MathExtras.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// A thread has no table in registers: four levels of selects.
Value lookupEntry(Emitter& e, LookupOp op, Value code) {
  llvm::SmallVector<Value> level;
  for (int64_t bits : op.getTable())
    level.push_back(e.floatBits(e.f32(), static_cast<uint32_t>(bits)));
  for (int bit = 0; level.size() > 1; ++bit) {
    const Value set = e.compare(arith::CmpIPredicate::ne, e.andi(code, int64_t{1} << bit),
                                e.integer(code.getType(), 0));
    llvm::SmallVector<Value> next;
    for (size_t i = 0; i < level.size(); i += 2)
      next.push_back(e.select(set, level[i + 1], level[i]));
    level = std::move(next);
  }
  return level[0];
}

}  // namespace

Value KernelLowering::scalar(Value value) {
  const auto found = scalars_.find(value);
  TESSERA_CHECK(found != scalars_.end(), "a scalar is used before it is lowered");
  return found->second;
}

Point KernelLowering::pointAt(const lang::TileShape& shape, Value linear) {
  Point point;
  point.linear = linear;
  point.index.resize(shape.rank());
  int64_t below = 1;  // elements of one step along the dimension
  for (int d = shape.rank() - 1; d >= 0; --d) {
    const Value shifted = e_.shr(linear, llvm::Log2_64(below));
    point.index[d] = d == 0 ? shifted : e_.andi(shifted, shape[d] - 1);
    below *= shape[d];
  }
  return point;
}

Point KernelLowering::pointFrom(const lang::TileShape& shape, llvm::ArrayRef<Value> index) {
  Point point;
  point.index.assign(index.begin(), index.end());
  point.linear = e_.i32(0);
  int64_t below = 1;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    point.linear = e_.add(point.linear, e_.shl(index[d], llvm::Log2_64(below)));
    below *= shape[d];
  }
  return point;
}

void KernelLowering::forOwned(const lang::TileShape& shape, PointBody body) {
  const int64_t count = shape.numel();
  const auto at = [&](Value turn) {
    Point point = pointAt(shape, e_.add(e_.shl(turn, llvm::Log2_64(threads_)), thread_));
    point.owned = turn;
    body(point);
  };
  if (count >= threads_) {
    if (count == threads_) return at(e_.i32(0));
    auto loop = mlir::scf::ForOp::create(e_.builder, e_.loc, e_.i32(0), e_.i32(count / threads_),
                                         e_.i32(1));
    mlir::OpBuilder::InsertionGuard guard(e_.builder);
    e_.builder.setInsertionPoint(loop.getBody()->getTerminator());
    return at(loop.getInductionVar());
  }
  e_.ifThen(e_.compare(arith::CmpIPredicate::ult, thread_, e_.i32(count)), [&] { at(e_.i32(0)); });
}

Value KernelLowering::evaluate(Value tile, const Point& point) {
  if (isScalar(tile)) return scalar(tile);
  if (const auto known = point.known.find(tile); known != point.known.end()) return known->second;
  Value value;
  if (const auto array = arrays_.find(tile); array != arrays_.end()) {
    const bool shared = array->second.space == Space::kShared;
    TESSERA_CHECK(shared || point.owned, "an element of another thread's private memory is read");
    value = memory_.load(e_.loc, array->second, shared ? point.linear : point.owned);
  } else {
    value = evaluateLazy(tile.getDefiningOp(), tile, point);
  }
  point.known[tile] = value;
  return value;
}

Value KernelLowering::evaluateLazy(Operation* op, Value tile, const Point& point) {
  if (auto constant = llvm::dyn_cast<ConstantOp>(op)) {
    const mlir::Type type = registerType(e_.builder.getContext(), dtypeOf(tile));
    const int64_t bits = constant.getValue();
    return llvm::isa<mlir::FloatType>(type) ? e_.floatBits(type, static_cast<uint32_t>(bits))
                                            : e_.integer(type, bits);
  }
  if (auto id = llvm::dyn_cast<ProgramIdOp>(op)) return programId_[id.getAxis()];
  if (auto number = llvm::dyn_cast<NumProgramsOp>(op)) return gridSize_[number.getAxis()];
  if (auto extent = llvm::dyn_cast<ExtentOp>(op)) {
    const ViewAttr view = kernel_.view(extent.getView());
    return memory_.slot(e_.loc, view.getSlot() + 1 + static_cast<uint32_t>(extent.getDim()));
  }
  if (auto argument = llvm::dyn_cast<ScalarArgOp>(op)) {
    const Value bits = memory_.slot(e_.loc, kernel_.scalar(argument.getIndex()).getSlot());
    const mlir::Type type = registerType(e_.builder.getContext(), dtypeOf(tile));
    if (type == e_.i64()) return bits;
    if (llvm::isa<mlir::FloatType>(type)) return e_.bitcast(e_.truncate(bits, e_.i32()), type);
    return e_.truncate(bits, type);
  }
  if (auto iota = llvm::dyn_cast<IotaOp>(op)) return point.index[iota.getAxis()];
  if (auto load = llvm::dyn_cast<LoadOp>(op)) return loadElement(load, point);
  if (auto gather = llvm::dyn_cast<GatherOp>(op)) return gatherElement(gather, point);
  if (!isElementwise(op)) return evaluateShape(op, tile, point);
  llvm::SmallVector<Value> operands;
  for (Value operand : op->getOperands()) operands.push_back(evaluate(operand, point));
  if (auto lookup = llvm::dyn_cast<LookupOp>(op)) return lookupEntry(e_, lookup, operands[0]);
  return emitElementwise(e_, op, operands);
}

/// Operations that only move elements.
Value KernelLowering::evaluateShape(Operation* op, Value tile, const Point& point) {
  const lang::TileShape shape = typeOf(tile).shape;
  llvm::SmallVector<Value> index(point.index.begin(), point.index.end());
  const auto from = [&](Value source, llvm::ArrayRef<Value> at) {
    return evaluate(source, pointFrom(typeOf(source).shape, at));
  };
  if (auto broadcast = llvm::dyn_cast<BroadcastOp>(op)) {
    const Value source = broadcast.getX();
    if (isScalar(source)) return scalar(source);
    const lang::TileShape small = typeOf(source).shape;
    const int lead = shape.rank() - small.rank();
    llvm::SmallVector<Value> at;
    for (int d = 0; d < small.rank(); ++d)
      at.push_back(small[d] == 1 ? e_.i32(0) : index[d + lead]);
    return from(source, at);
  }
  if (auto reshape = llvm::dyn_cast<ReshapeOp>(op)) {
    const Value source = reshape.getX();
    if (isScalar(source)) return scalar(source);
    Point same = pointAt(typeOf(source).shape, point.linear ? point.linear : e_.i32(0));
    same.owned = point.owned;
    return evaluate(source, same);
  }
  if (auto transpose = llvm::dyn_cast<TransposeOp>(op)) {
    llvm::SmallVector<Value> at(index.size());
    for (size_t d = 0; d < index.size(); ++d) at[transpose.getPermutation()[d]] = index[d];
    return from(transpose.getX(), at);
  }
  if (auto slice = llvm::dyn_cast<SliceOp>(op)) {
    index[slice.getAxis()] = e_.add(index[slice.getAxis()], e_.i32(slice.getStart()));
    return from(slice.getX(), index);
  }
  if (auto split = llvm::dyn_cast<SplitOp>(op)) {
    index.back() = e_.add(e_.shl(index.back(), 1), e_.i32(tile == split.getOdd() ? 1 : 0));
    return from(split.getX(), index);
  }
  if (auto take = llvm::dyn_cast<TakeOp>(op)) {
    const Value source = take.getA(), at = evaluate(take.getB(), point);
    const int64_t extent = typeOf(source).shape.last();
    const Value inside = e_.compare(arith::CmpIPredicate::ult, at, e_.i32(extent));
    index.back() = e_.select(inside, at, e_.i32(0));
    const Value value = from(source, index);
    return e_.select(inside, value, e_.constant(value.getType(), 0));
  }
  // concat and join read one of two sources; both are evaluated, at a position that exists.
  if (auto concat = llvm::dyn_cast<ConcatOp>(op)) {
    const int64_t axis = concat.getAxis(), first = typeOf(concat.getA()).shape[axis];
    const Value in_first = e_.compare(arith::CmpIPredicate::ult, index[axis], e_.i32(first));
    llvm::SmallVector<Value> a = index, b = index;
    a[axis] = e_.select(in_first, index[axis], e_.i32(0));
    b[axis] = e_.select(in_first, e_.i32(0), e_.sub(index[axis], e_.i32(first)));
    return e_.select(in_first, from(concat.getA(), a), from(concat.getB(), b));
  }
  auto join = llvm::cast<JoinOp>(op);
  const Value even = e_.compare(arith::CmpIPredicate::eq, e_.andi(index.back(), 1), e_.i32(0));
  index.back() = e_.shr(index.back(), 1);
  return e_.select(even, from(join.getA(), index), from(join.getB(), index));
}

}  // namespace tessera::compiler::simt
