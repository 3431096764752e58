// SPDX-License-Identifier: Apache-2.0
// Operands and accumulators of matrix products; the products themselves are behind emitDot().
#include <bit>

#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/dot.h"
#include "tessera/compiler/lowering/cpu/dot_amx.h"
#include "tessera/compiler/lowering/cpu/dot_ops.h"
#include "tessera/compiler/lowering/cpu/dot_reuse.h"
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"
#include "tessera/compiler/passes/consumers.h"

namespace tessera::compiler::cpu {

using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;

namespace {

Value byteStride(Emitter& e, const Place& place) {
  const Index stride = place.strides[0];
  return materialize(e, place.dtype == DType::f4e2m1 ? divide(e, stride, 2)
                                                     : scale(e, stride, bits(place.dtype) / 8));
}

DotOperand operandOf(KernelLowering& k, Value tile) {
  const Place place = k.placeOf(tile);
  auto load = tile.getDefiningOp<tile::LoadOp>();
  return {place.pointer, byteStride(k.e, place), place.dtype,
          load && !load->hasAttr(kRootAttribute)};
}

DotScale scaleOf(KernelLowering& k, Value tile) {
  const Place place = k.placeOf(tile);
  const ArrayRef<int64_t> shape = tile::typeOf(tile).getShape();
  return {place.pointer, byteStride(k.e, place), place.dtype, shape[0], shape[1]};
}

/// Shapes and dtypes of a product; no addresses yet.
DotTask describe(mlir::Operation* op) {
  DotTask task;
  const Value a = op->getOperand(0), b = op->getOperand(1);
  const ArrayRef<int64_t> aShape = tile::typeOf(a).getShape(), bShape = tile::typeOf(b).getShape();
  auto plain = llvm::dyn_cast<tile::DotOp>(op);
  task.bIsKn = plain && plain.getBIsKn() != 0;
  task.m = aShape[0];
  task.k = aShape[1];
  task.n = bShape[task.bIsKn ? 1 : 0];
  task.a.dtype = tile::dtypeOf(a);
  task.b.dtype = tile::dtypeOf(b);
  const auto describeScale = [](Value tile) -> std::optional<DotScale> {
    if (!tile) return std::nullopt;
    const ArrayRef<int64_t> shape = tile::typeOf(tile).getShape();
    return DotScale{{}, {}, tile::dtypeOf(tile), shape[0], shape[1]};
  };
  if (auto scaled = llvm::dyn_cast<tile::DotScaledOp>(op)) {
    task.aScale = describeScale(scaled.getAScale());
    task.bScale = describeScale(scaled.getBScale());
  }
  return task;
}

Value accumulatorOf(mlir::Operation* op) { return op->getOperand(2); }

/// The carried tile that `acc` rescales in place, if nothing but this product looks at it.
Value rescaledTile(KernelLowering& k, mlir::Operation* op, Value acc) {
  if (!acc.hasOneUse()) return {};
  for (Value param : op->getBlock()->getArguments()) {
    if (tile::isScalar(param) || param.getType() != acc.getType() ||
        !k.evaluator.places.count(param))
      continue;
    if (k.readsOf(acc, param) != Reads::kInPlace) continue;
    const Consumers consumers = consumersOf(param);
    if (consumers.size() == 1 && consumers.contains(op)) return param;
  }
  return {};
}

/// Where the product adds to; its result lies there as well.
Place accumulatorPlace(KernelLowering& k, mlir::Operation* op) {
  const Value acc = accumulatorOf(op);
  if (k.ownsPlace(acc, op->getBlock())) return k.evaluator.places.at(acc);
  if (const Value param = rescaledTile(k, op, acc)) {
    const Place place = k.evaluator.places.at(param);
    k.storeTo(place, acc);
    return place;
  }
  const Place place = k.newPlace(acc);
  k.storeTo(place, acc);
  return place;
}

void placeA(KernelLowering& k, mlir::Operation* op, DotTask& task) {
  task.a = operandOf(k, op->getOperand(0));
  if (auto scaled = llvm::dyn_cast<tile::DotScaledOp>(op))
    if (scaled.getAScale()) task.aScale = scaleOf(k, scaled.getAScale());
}

/// The lowered scalar as 64 bits that are equal when it is.
Value keyOf(KernelLowering& k, Value scalar) {
  Emitter& e = k.e;
  const Value value = k.evaluator.scalars.at(scalar);
  if (!llvm::isa<mlir::FloatType>(value.getType())) return e.zeroExtend(value, e.i64());
  const unsigned width = value.getType().getIntOrFloatBitWidth();
  return e.zeroExtend(e.bitcast(value, e.builder.getIntegerType(width)), e.i64());
}

DotReuse reuseOf(KernelLowering& k, mlir::Operation* op, const DotSource& source) {
  DotReuse reuse;
  reuse.position = k.e.i64(0);
  auto loop = llvm::dyn_cast<tile::ForOp>(op->getParentOp());
  for (Value leaf : source.leaves) {
    reuse.key.push_back(keyOf(k, leaf));
    if (loop && leaf == loop.induction()) reuse.position = reuse.key.back();
  }
  reuse.load = [&k, op, own = source.own](DotTask& task) {
    k.evaluator.scoped([&] {
      for (mlir::Operation* deferred : own) k.lowerDeferred(deferred);
      placeA(k, op, task);
    });
  };
  return reuse;
}

/// One more than the last row that is not picked as -1; null: unknown.
Value pickedRows(KernelLowering& k, tile::GatherOp gather) {
  const Value rows = gather.getRows();
  if (gather.getFill() != 0 || tile::dtypeOf(rows) == DType::u32 ||
      k.deferred.contains(rows.getDefiningOp()))
    return {};
  Emitter& e = k.e;
  const int64_t count = tile::typeOf(rows).getShape()[0];
  return e.loop(e.i64(0), e.i64(count), e.i64(1), {e.i64(0)},
                [&](Value row, mlir::ValueRange used) -> Values {
                  Value next;
                  k.evaluator.scoped([&] {
                    Lanes lanes;
                    lanes.at.push_back(Index(row));
                    const Value picked = e.signExtend(k.evaluator.eval(rows, lanes), e.i64());
                    const Value good = e.compare(mlir::arith::CmpIPredicate::sge, picked, e.i64(0));
                    next = e.select(good, e.add(row, e.i64(1)), used[0]);
                  });
                  return {next};
                })[0];
}

/// How many rows of a are inside of the view it is loaded from; null: unknown or all.
Value usedRowsOf(KernelLowering& k, mlir::Operation* op) {
  if (auto gather = op->getOperand(0).getDefiningOp<tile::GatherOp>()) return pickedRows(k, gather);
  auto load = op->getOperand(0).getDefiningOp<tile::LoadOp>();
  if (!load || load.getFill() != 0) return {};
  const size_t dim = load.getOffsets().size() - 2;
  const uint64_t overridden = load.getOverridden();
  Value extent;
  if ((overridden >> dim) & 1) {
    const auto earlier =
        static_cast<size_t>(std::popcount(overridden & ((uint64_t{1} << dim) - 1)));
    extent = k.evaluator.scalars.at(load.getOverrides()[earlier]);
  } else {
    extent = k.views.extent(static_cast<int64_t>(load.getView()), static_cast<int64_t>(dim));
  }
  return k.e.sub(extent, k.evaluator.scalars.at(load.getOffsets()[dim]));
}

void lowerProduct(KernelLowering& k, mlir::Operation* op) {
  DotTask task = describe(op);
  if (const auto source = k.dotSources.find(op); source != k.dotSources.end())
    task.reuse = reuseOf(k, op, source->second);
  else
    placeA(k, op, task);
  task.usedRows = usedRowsOf(k, op);
  task.b = operandOf(k, op->getOperand(1));
  if (auto scaled = llvm::dyn_cast<tile::DotScaledOp>(op))
    if (scaled.getBScale()) task.bScale = scaleOf(k, scaled.getBScale());
  const Value result = op->getResult(0);
  if (const auto found = k.carriedSums.find(accumulatorOf(op)); found != k.carriedSums.end()) {
    const CarriedSums sums = found->second;
    task.layout = sums.layout;
    task.accumulator = sums.memory;
    k.carriedSums[result] = sums;
  } else {
    const Place place = accumulatorPlace(k, op);
    task.accumulator = place.pointer;
    k.evaluator.places[result] = place;
  }
  emitDot(k.e, task);
  k.evaluator.forget();
}

}  // namespace

void deferSources(KernelLowering& k, mlir::Block& block) {
  for (mlir::Operation& op : block) {
    if (!llvm::isa<tile::DotOp, tile::DotScaledOp>(op)) continue;
    const auto source = sourceOfA(&op);
    if (!source) continue;
    k.deferred.insert(source->own.begin(), source->own.end());
    k.dotSources[&op] = *source;
  }
}

void lowerDot(KernelLowering& k, tile::DotOp op) { lowerProduct(k, op); }
void lowerDotScaled(KernelLowering& k, tile::DotScaledOp op) { lowerProduct(k, op); }

namespace {

bool isZero(Value tile) {
  auto constant = tile.getDefiningOp<tile::ConstantOp>();
  return constant && constant.getValue() == 0;
}

/// Products that the carried tile goes through, from its parameter to its own yield; none if it
/// goes anywhere else.
SmallVector<mlir::Operation*> productsThrough(tile::ForOp loop, unsigned carried) {
  SmallVector<mlir::Operation*> products;
  Value value = loop.getBody().getArgument(carried + 1);
  if (tile::isScalar(value)) return {};
  for (;;) {
    if (!value.hasOneUse()) return {};
    mlir::OpOperand& use = *value.getUses().begin();
    mlir::Operation* user = use.getOwner();
    if (user->getBlock() != &loop.getBody().front()) return {};
    if (llvm::isa<tile::YieldOp>(user))
      return use.getOperandNumber() == carried ? products : SmallVector<mlir::Operation*>();
    if (!llvm::isa<tile::DotOp, tile::DotScaledOp>(user) || use.getOperandNumber() != 2) return {};
    products.push_back(user);
    value = user->getResult(0);
  }
}

}  // namespace

DotTask::Accumulator carriedLayout(KernelLowering& k, tile::ForOp loop, unsigned carried) {
  const SmallVector<mlir::Operation*> products = productsThrough(loop, carried);
  if (products.empty()) return DotTask::Accumulator::kPlain;
  const auto all = [&](llvm::function_ref<bool(const DotTask&)> holds) {
    return llvm::all_of(products, [&](mlir::Operation* op) { return holds(describe(op)); });
  };
  const CpuTarget& target = k.e.target;
  if (isZero(loop.getInits()[carried]) &&
      all([&](const DotTask& task) { return suitsTiles(target, task); }) &&
      all([&](const DotTask& task) { return configureTiles(k.e, task); }))
    return DotTask::Accumulator::kTransposed;
  if (all([&](const DotTask& task) { return wantsPartialSums(target, task); }))
    return DotTask::Accumulator::kPartial;
  return DotTask::Accumulator::kPlain;
}

CarriedSums beginCarriedSums(KernelLowering& k, Value tile, DotTask::Accumulator layout) {
  Emitter& e = k.e;
  const auto shape = tile::typeOf(tile).getShape();
  const int64_t elements = shape[0] * shape[1];
  if (layout == DotTask::Accumulator::kTransposed) {
    const int64_t all = transposedCopies(shape[0], shape[1]) * elements;
    const Value memory = k.views.scratch(DType::f32, {all}).pointer;
    k.views.fill(memory, DType::f32, all, 0);
    return {memory, layout};
  }
  const int64_t lanes = e.target.lanes;
  const Value memory = k.views.scratch(DType::f32, {elements, lanes}).pointer;
  for (int64_t i = 0; i < elements; ++i)
    e.store(e.constant(e.type(e.f32(), lanes), 0), e.offset(memory, 4 * lanes * i),
            static_cast<unsigned>(4 * lanes));
  return {memory, layout};
}

void endCarriedSums(KernelLowering& k, const CarriedSums& sums, Value init, const Place& result) {
  Emitter& e = k.e;
  const auto shape = tile::typeOf(init).getShape();
  if (sums.layout == DotTask::Accumulator::kTransposed) {
    transposeSums(e, {sums.memory, shape[1], shape[0]}, result.pointer, /*adds=*/false);
    k.evaluator.forget();
    return;
  }
  const int64_t lanes = e.target.lanes;
  for (int64_t i = 0; i < tile::typeOf(init).getNumElements(); ++i) {
    const Value partial = e.load(e.type(e.f32(), lanes), e.offset(sums.memory, 4 * lanes * i),
                                 static_cast<unsigned>(4 * lanes));
    const Value sum = e.reduceHalves(partial, [&](Value a, Value b) { return e.add(a, b); });
    Lanes at;
    at.at = {Index(i / shape[1]), Index(i % shape[1])};
    k.evaluator.write(result, e.add(k.evaluator.eval(init, at), sum), at);
  }
  k.evaluator.forget();
}

}  // namespace tessera::compiler::cpu
