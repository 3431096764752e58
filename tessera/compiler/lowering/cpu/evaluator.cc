// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/evaluator.h"

#include "llvm/ADT/TypeSwitch.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/scaled_codes.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/lanes/scaled_e4m3.h"
#include "tessera/compiler/passes/consumers.h"

namespace tessera::compiler::cpu {

namespace arith = mlir::arith;
using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;

namespace {

/// Chunks written out one after the other, and the cost (consumers.h) of all their code.
constexpr int64_t kUnrolledChunks = 16, kUnrolledCost = 320;

/// Cost of the code that evaluates one chunk.
int64_t codeOf(const Evaluator& evaluator, Value tile,
               llvm::SmallPtrSetImpl<mlir::Operation*>& seen) {
  mlir::Operation* op = tile.getDefiningOp();
  if (op == nullptr || evaluator.places.count(tile) || evaluator.scalars.count(tile)) return 2;
  if (!seen.insert(op).second) return 0;
  int64_t cost = costOf(op) + 1;
  for (Value operand : op->getOperands()) cost += codeOf(evaluator, operand, seen);
  return cost;
}

ArrayRef<int64_t> shapeOf(Value tile) { return tile::typeOf(tile).getShape(); }

/// A product of which one factor is usually constant.
Index multiply(Emitter& e, Index a, Index b) {
  if (a.isConstant()) return scale(e, b, a.constant);
  if (b.isConstant()) return scale(e, a, b.constant);
  return Index(e.mul(materialize(e, a), materialize(e, b)));
}

Index positionOf(Emitter& e, const Place& place, ArrayRef<Index> at) {
  Index sum = 0;
  for (auto [index, stride] : llvm::zip_equal(at, place.strides))
    sum = add(e, sum, multiply(e, index, stride));
  return sum;
}

bool isContiguous(const Place& place, const Lanes& lanes) {
  return lanes.count == 1 || place.strides[lanes.dim] == Index(1);
}

}  // namespace

SmallVector<int64_t, 3> rowMajor(ArrayRef<int64_t> shape) {
  SmallVector<int64_t, 3> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
  return strides;
}

// ---- stored tiles ----

Value Evaluator::lanesOneByOne(int64_t count, llvm::function_ref<Value(int64_t)> lane) {
  if (count == 1) return lane(0);
  Value result;
  for (int64_t i = 0; i < count; ++i) {
    const Value element = lane(i);
    if (!result) result = e.splat(element, count);
    if (i > 0) result = e.insert(result, element, i);
  }
  return result;
}

Value Evaluator::read(const Place& place, const Lanes& lanes) {
  const Index first = positionOf(e, place, lanes.at);
  if (isContiguous(place, lanes))
    return loadLanes(e, place.dtype, place.pointer, first, lanes.count);
  return lanesOneByOne(lanes.count, [&](int64_t i) {
    return loadLanes(e, place.dtype, place.pointer,
                     add(e, first, scale(e, place.strides[lanes.dim], i)), 1);
  });
}

void Evaluator::write(const Place& place, Value value, const Lanes& lanes,
                      unsigned streamedAlignment) {
  const Index first = positionOf(e, place, lanes.at);
  if (isContiguous(place, lanes)) {
    storeLanes(e, place.dtype, value, place.pointer, first, streamedAlignment,
               streamedAlignment != 0);
    return;
  }
  for (int64_t i = 0; i < lanes.count; ++i)
    storeLanes(e, place.dtype, e.extract(value, i), place.pointer,
               add(e, first, scale(e, place.strides[lanes.dim], i)));
}

// ---- evaluation ----

Value Evaluator::eval(Value tile, const Lanes& lanes) {
  if (const auto scalar = scalars.find(tile); scalar != scalars.end())
    return e.splat(scalar->second, lanes.count);
  // One lane is the same along any dimension.
  const Key key{tile.getAsOpaquePointer(), lanes.at, lanes.count == 1 ? 0 : lanes.dim, lanes.count};
  if (const auto known = memo_.find(key); known != memo_.end()) return known->second;
  const auto stored = places.find(tile);
  const Value result = stored != places.end() ? read(stored->second, lanes)
                                              : evalOp(tile.getDefiningOp(), tile, lanes);
  memo_[key] = result;
  return result;
}

Value Evaluator::evalOp(mlir::Operation* op, Value tile, const Lanes& lanes) {
  TESSERA_CHECK(op != nullptr, "a block argument without a place");
  if (auto cast = llvm::dyn_cast<tile::CastOp>(op))
    if (const Value codes = evalScaledCodes(cast, lanes)) return codes;
  if (isElementwise(op)) {
    SmallVector<Value> operands;
    for (Value operand : op->getOperands())
      operands.push_back(tile::isScalar(operand) && llvm::isa<tile::RandomBitsOp>(op)
                             ? scalars.at(operand)
                             : eval(operand, lanes));
    return emitElementwise(e, op, operands);
  }
  return llvm::TypeSwitch<mlir::Operation*, Value>(op)
      .Case([&](tile::ConstantOp c) {
        return splatConstant(e, tile::dtypeOf(tile), static_cast<int64_t>(c.getValue()),
                             lanes.count);
      })
      .Case([&](tile::IotaOp i) { return evalIota(static_cast<int>(i.getAxis()), lanes); })
      .Case([&](tile::BroadcastOp b) {
        return evalBroadcast(b.getX(), lanes, tile::typeOf(tile).getRank());
      })
      .Case([&](tile::ReshapeOp r) { return evalReshape(r.getX(), shapeOf(tile), lanes); })
      .Case([&](tile::TransposeOp t) { return evalTranspose(t.getX(), t.getPermutation(), lanes); })
      .Case([&](tile::SliceOp s) {
        Lanes shifted = lanes;
        shifted.at[s.getAxis()] = shifted.at[s.getAxis()] + static_cast<int64_t>(s.getStart());
        return eval(s.getX(), shifted);
      })
      .Case([&](tile::SplitOp s) { return evalSplit(s.getX(), tile == s.getOdd(), lanes); })
      .Case([&](tile::JoinOp j) { return evalJoin(j.getA(), j.getB(), lanes); })
      .Default([&](mlir::Operation* other) -> Value {
        TESSERA_UNREACHABLE("{} is not evaluated point by point",
                            other->getName().getStringRef().str());
      });
}

Value Evaluator::evalIota(int axis, const Lanes& lanes) {
  const Value start = e.truncate(materialize(e, lanes.at[axis]), e.i32());
  const Value first = e.splat(start, lanes.count);
  if (axis != lanes.dim || lanes.count == 1) return first;
  SmallVector<int64_t> steps(lanes.count);
  for (int64_t i = 0; i < lanes.count; ++i) steps[i] = i;
  return e.add(first, e.integers(e.i32(), steps));
}

Value Evaluator::evalScaledCodes(tile::CastOp codes, const Lanes& lanes) {
  if (!canScaleE4m3(e.target, lanes.count)) return {};
  const auto found = scaledCodesOf(codes, [&](Value tile) { return places.count(tile) != 0; });
  if (!found) return {};
  const ArrayRef<int64_t> shape = shapeOf(codes.getResult());
  const auto rank = static_cast<int64_t>(shape.size());
  const Value scale = evalUnstretched(found->scale, lanes, rank);
  const Value numbers = shapeOf(found->numbers) == shape
                            ? eval(found->numbers, lanes)
                            : evalReshape(found->numbers, shape, lanes);
  return encodeScaledE4m3(e, numbers, e.bitcast(scale, e.i32()));
}

Value Evaluator::evalBroadcast(Value x, const Lanes& lanes, int64_t resultRank) {
  const Value value = evalUnstretched(x, lanes, resultRank);
  return Emitter::lanesOf(value) == lanes.count ? value : e.splat(value, lanes.count);
}

Value Evaluator::evalUnstretched(Value x, const Lanes& lanes, int64_t resultRank) {
  const ArrayRef<int64_t> shape = shapeOf(x);
  const int64_t added = resultRank - static_cast<int64_t>(shape.size());
  Lanes inner;
  for (size_t i = 0; i < shape.size(); ++i)
    inner.at.push_back(shape[i] == 1 ? Index(0) : lanes.at[i + added]);
  const int64_t dim = lanes.dim - added;
  const bool stretched = dim < 0 || shape[dim] == 1;
  inner.dim = stretched ? 0 : static_cast<int>(dim);
  inner.count = stretched ? 1 : lanes.count;
  return eval(x, inner);
}

Index Evaluator::linearIndex(ArrayRef<int64_t> shape, ArrayRef<Index> at) {
  Index linear = 0;
  for (auto [index, stride] : llvm::zip_equal(at, rowMajor(shape)))
    linear = add(e, linear, scale(e, index, stride));
  return linear;
}

Value Evaluator::evalReshape(Value x, ArrayRef<int64_t> shape, const Lanes& lanes) {
  const ArrayRef<int64_t> inner = shapeOf(x);
  const SmallVector<int64_t, 3> strides = rowMajor(inner);
  const Index linear = linearIndex(shape, lanes.at);
  const auto at = [&](Index position) {
    Lanes there;
    for (size_t i = 0; i < inner.size(); ++i) {
      const Index index = inner[i] == 1 ? Index(0) : divide(e, position, strides[i]);
      there.at.push_back(i == 0 ? index : remainder(e, index, inner[i]));
    }
    return there;
  };
  if (lanes.count == 1) return eval(x, at(linear));
  // Lanes run along the dimension of the same stride; where it is shorter, piece by piece.
  const int64_t step = rowMajor(shape)[lanes.dim];
  for (size_t i = 0; i < inner.size(); ++i) {
    if (strides[i] != step || inner[i] == 1) continue;
    const int64_t piece = std::min(inner[i], lanes.count);
    SmallVector<Value> parts;
    for (int64_t first = 0; first < lanes.count; first += piece) {
      Lanes there = at(linear + first * step);
      there.dim = static_cast<int>(i);
      there.count = piece;
      parts.push_back(eval(x, there));
    }
    return e.concat(parts);
  }
  return lanesOneByOne(lanes.count, [&](int64_t i) { return eval(x, at(linear + i * step)); });
}

Value Evaluator::evalTranspose(Value x, ArrayRef<int64_t> permutation, const Lanes& lanes) {
  Lanes inner = lanes;
  for (size_t i = 0; i < permutation.size(); ++i) inner.at[permutation[i]] = lanes.at[i];
  inner.dim = static_cast<int>(permutation[lanes.dim]);
  return eval(x, inner);
}

Value Evaluator::evalSplit(Value x, bool odd, const Lanes& lanes) {
  const int last = static_cast<int>(lanes.at.size()) - 1;
  Lanes inner = lanes;
  inner.at[last] = scale(e, lanes.at[last], 2);
  if (lanes.count == 1 || lanes.dim != last) {
    inner.at[last] = inner.at[last] + (odd ? 1 : 0);
    return eval(x, inner);
  }
  inner.count = 2 * lanes.count;
  SmallVector<int64_t> mask(lanes.count);
  for (int64_t i = 0; i < lanes.count; ++i) mask[i] = 2 * i + (odd ? 1 : 0);
  return e.shuffle(eval(x, inner), {}, mask);
}

Value Evaluator::evalJoin(Value even, Value odd, const Lanes& lanes) {
  const int last = static_cast<int>(lanes.at.size()) - 1;
  Lanes inner = lanes;
  inner.at[last] = divide(e, lanes.at[last], 2);
  if (lanes.count > 1 && lanes.dim == last) {
    inner.count = lanes.count / 2;
    SmallVector<int64_t> mask(lanes.count);
    for (int64_t i = 0; i < lanes.count; ++i) mask[i] = i / 2 + (i % 2) * inner.count;
    return e.shuffle(eval(even, inner), eval(odd, inner), mask);
  }
  const Index parity = remainder(e, lanes.at[last], 2);
  if (parity.isConstant()) return eval(parity.constant ? odd : even, inner);
  const Value isOdd = e.compare(arith::CmpIPredicate::ne, materialize(e, parity), e.i64(0));
  return e.select(e.splat(isOdd, lanes.count), eval(odd, inner), eval(even, inner));
}

// ---- loops ----

int Evaluator::vectorDim(ArrayRef<int64_t> shape) {
  int dim = static_cast<int>(shape.size()) - 1;
  while (dim > 0 && shape[dim] == 1) --dim;
  return std::max(dim, 0);
}

void Evaluator::scoped(llvm::function_ref<void()> body) {
  auto saved = memo_;
  body();
  memo_ = std::move(saved);
}

int64_t Evaluator::unrollLimit(Value tile) const {
  llvm::SmallPtrSet<mlir::Operation*, 16> seen;
  return std::clamp<int64_t>(kUnrolledCost / codeOf(*this, tile, seen), 1, kUnrolledChunks);
}

void Evaluator::forEachChunk(ArrayRef<int64_t> shape, int dim, int64_t count, int64_t limit,
                             llvm::function_ref<void(const Lanes&)> body) {
  Lanes lanes;
  lanes.dim = dim;
  lanes.count = count;
  lanes.at.resize(shape.size());
  SmallVector<int64_t, 3> inside(shape.size() + 1, 1);  // chunks within dimensions i, i + 1, ..
  for (size_t i = shape.size(); i-- > 0;)
    inside[i] = inside[i + 1] * (static_cast<int>(i) == dim ? shape[i] / count : shape[i]);
  const std::function<void(size_t)> nest = [&](size_t i) {
    if (i == shape.size()) return body(lanes);
    const int64_t step = static_cast<int>(i) == dim ? count : 1;
    if (inside[i] <= limit || shape[i] == step) {
      for (int64_t position = 0; position < shape[i]; position += step) {
        lanes.at[i] = position;
        nest(i + 1);
      }
      return;
    }
    e.loop(0, shape[i], step, [&](Value position) {
      scoped([&] {
        lanes.at[i] = position;
        nest(i + 1);
      });
    });
  };
  nest(0);
}

}  // namespace tessera::compiler::cpu
