// SPDX-License-Identifier: Apache-2.0
// Operations across elements: reductions, scans, concatenation, take, histogram. Their results are
// roots.
#include <limits>

#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/kernel_lowering.h"
#include "tessera/compiler/lowering/cpu/magnitudes.h"
#include "tessera/compiler/lowering/lanes/math.h"

namespace tessera::compiler::cpu {

namespace arith = mlir::arith;
using arith::CmpFPredicate;
using arith::CmpIPredicate;
using llvm::ArrayRef;
using llvm::SmallVector;
using mlir::Value;
using mlir::ValueRange;

namespace {

using State = SmallVector<Value>;  // the best or the sum; for argmax and argmin also the index

/// What one reduction does to lanes.
class Reducer {
 public:
  Reducer(KernelLowering& lowering, tile::ReduceOp op)
      : k(lowering),
        e(lowering.e),
        words_(wordsOfMagnitudes(op)),
        x_(words_ ? words_ : op.getX()),
        kind_(op.getKind()),
        dtype_(tile::dtypeOf(op.getX())),
        axis_(static_cast<int>(op.getAxis())) {}

  bool hasIndex() const {
    return kind_ == tile::Reduction::argmax || kind_ == tile::Reduction::argmin;
  }

  /// What is evaluated chunk by chunk, in chunks of so many elements.
  Value tile() const { return x_; }
  int64_t chunk(int64_t extent) const {
    return words_ ? std::min<int64_t>(extent, 4 * e.target.lanes) : k.evaluator.chunkOf(extent);
  }

  State first(const Lanes& lanes) const {
    const Value value = at(lanes);
    if (!hasIndex()) return {value};
    return {value, indexAt(lanes)};
  }

  State step(const State& state, const Lanes& lanes) const {
    const Value value = at(lanes);
    if (!hasIndex()) return {combine(state[0], value)};
    return better(state, {value, indexAt(lanes)}, /*compareIndex=*/false);
  }

  /// What the last state says.
  Value result(const State& state) const {
    return words_ ? e.shl(e.zeroExtend(state.back(), e.i32()), 16) : state.back();
  }

  /// Two halves of lanes; indices are in no order there.
  State merge(const State& a, const State& b) const {
    return hasIndex() ? better(a, b, /*compareIndex=*/true) : State{combine(a[0], b[0])};
  }

 private:
  Value at(const Lanes& lanes) const {
    const Value value = k.evaluator.eval(x_, lanes);
    return words_ ? e.andi(value, 0x7fff) : value;
  }
  Value indexAt(const Lanes& lanes) const {
    const Value start = e.splat(e.truncate(materialize(e, lanes.at[axis_]), e.i32()), lanes.count);
    if (lanes.dim != axis_ || lanes.count == 1) return start;
    SmallVector<int64_t> steps(lanes.count);
    for (int64_t i = 0; i < lanes.count; ++i) steps[i] = i;
    return e.add(start, e.integers(e.i32(), steps));
  }

  Value combine(Value a, Value b) const {
    const bool isFloat = dtype_ == DType::f32, isUnsigned = dtype_ == DType::u32;
    switch (kind_) {
      case tile::Reduction::sum: return e.add(a, b);
      case tile::Reduction::max:
        if (isFloat) return maxFloat(e, a, b);
        return isUnsigned ? e.builder.createOrFold<arith::MaxUIOp>(e.loc, a, b) : e.maxSigned(a, b);
      default:
        if (isFloat) return minFloat(e, a, b);
        return isUnsigned ? e.builder.createOrFold<arith::MinUIOp>(e.loc, a, b) : e.minSigned(a, b);
    }
  }

  /// Whether b replaces a; a NaN loses to any number, equal values keep the lower index.
  Value wins(const State& b, const State& a, bool compareIndex) const {
    const bool wantsMax = kind_ == tile::Reduction::argmax;
    Value beats, ties;
    if (dtype_ == DType::f32) {
      beats = e.compare(wantsMax ? CmpFPredicate::OGT : CmpFPredicate::OLT, b[0], a[0]);
      const Value aIsNan = e.compare(CmpFPredicate::UNO, a[0], a[0]),
                  bIsNan = e.compare(CmpFPredicate::UNO, b[0], b[0]);
      beats = e.ori(beats, e.andi(aIsNan, e.xori(bIsNan, 1)));
      if (compareIndex)
        ties = e.ori(e.compare(CmpFPredicate::OEQ, a[0], b[0]), e.andi(aIsNan, bIsNan));
    } else {
      const bool isUnsigned = dtype_ == DType::u32;
      const CmpIPredicate max = isUnsigned ? CmpIPredicate::ugt : CmpIPredicate::sgt;
      const CmpIPredicate min = isUnsigned ? CmpIPredicate::ult : CmpIPredicate::slt;
      beats = e.compare(wantsMax ? max : min, b[0], a[0]);
      if (compareIndex) ties = e.compare(CmpIPredicate::eq, a[0], b[0]);
    }
    if (!compareIndex) return beats;
    return e.ori(beats, e.andi(ties, e.compare(CmpIPredicate::slt, b[1], a[1])));
  }

  State better(const State& a, const State& b, bool compareIndex) const {
    const Value replace = wins(b, a, compareIndex);
    return {e.select(replace, b[0], a[0]), e.select(replace, b[1], a[1])};
  }

  KernelLowering& k;
  Emitter& e;
  Value words_;  // in place of the operand; see wordsOfMagnitudes()
  Value x_;
  tile::Reduction kind_;
  DType dtype_;
  int axis_;
};

/// Walks the reduced axis from `lanes` on, `step` at a time, and combines what is there. Up to
/// `limit` steps are written out.
State walkAxis(KernelLowering& k, tile::ReduceOp op, const Reducer& reducer, Lanes lanes,
               int64_t step, int64_t limit) {
  Emitter& e = k.e;
  const int axis = static_cast<int>(op.getAxis());
  const int64_t extent = tile::typeOf(op.getX()).getShape()[axis];
  lanes.at[axis] = 0;
  State state = reducer.first(lanes);
  if (extent / step <= limit) {
    for (int64_t at = step; at < extent; at += step) {
      lanes.at[axis] = at;
      state = reducer.step(state, lanes);
    }
    return state;
  }
  return e.loop(e.i64(step), e.i64(extent), e.i64(step), state, [&](Value at, ValueRange carried) {
    State next;
    k.evaluator.scoped([&] {
      lanes.at[axis] = at;
      next = reducer.step(State(carried.begin(), carried.end()), lanes);
    });
    return next;
  });
}

/// Halves of the lanes until one is left.
State mergeLanes(Emitter& e, const Reducer& reducer, State state) {
  for (int64_t lanes = Emitter::lanesOf(state[0]); lanes > 1; lanes /= 2) {
    State low, high;
    for (Value value : state) {
      low.push_back(e.slice(value, 0, lanes / 2));
      high.push_back(e.slice(value, lanes / 2, lanes / 2));
    }
    state = reducer.merge(low, high);
  }
  return state;
}

}  // namespace

/// Along the axis chunks run in: lane i of a chunk of V sums elements i, i + V, i + 2 V, .. in
/// order, then the lanes are combined by halves. Along another axis: in order, one sum a lane.
void lowerReduce(KernelLowering& k, tile::ReduceOp op) {
  const ArrayRef<int64_t> shape = tile::typeOf(op.getX()).getShape();
  const int axis = static_cast<int>(op.getAxis()), dim = Evaluator::vectorDim(shape);
  const Place result = k.newPlace(op.getResult());
  const Reducer reducer(k, op);
  const auto finish = [&](const State& state, const Lanes& lanes) {
    k.evaluator.write(result, reducer.result(state), lanes);
  };
  // Chunks along the axis first, then as many positions beside it as there is room for.
  const int64_t limit = k.evaluator.unrollLimit(reducer.tile());
  const int64_t step = axis == dim ? reducer.chunk(shape[axis]) : 1;
  const int64_t points = std::max<int64_t>(1, limit / (shape[axis] / step));
  const ArrayRef<int64_t> reduced = tile::typeOf(op.getResult()).getShape();
  if (axis == dim) {
    k.evaluator.forEachChunk(
        reduced, Evaluator::vectorDim(reduced), 1, points, [&](const Lanes& point) {
          Lanes lanes = point;
          lanes.dim = axis;
          lanes.count = step;
          finish(mergeLanes(k.e, reducer, walkAxis(k, op, reducer, lanes, step, limit)), point);
        });
  } else {
    k.evaluator.forEachChunk(
        reduced, dim, reducer.chunk(shape[dim]), points,
        [&](const Lanes& lanes) { finish(walkAxis(k, op, reducer, lanes, 1, limit), lanes); });
  }
  k.evaluator.places[op.getResult()] = result;
  k.evaluator.forget();
}

/// Along another axis than the chunks': rows are added up one after the other. Along the chunks':
/// shifted sums inside a chunk, plus what the chunks before came to.
void lowerScan(KernelLowering& k, tile::ScanOp op) {
  Emitter& e = k.e;
  Evaluator& evaluator = k.evaluator;
  const ArrayRef<int64_t> shape = tile::typeOf(op.getX()).getShape();
  const int axis = static_cast<int>(op.getAxis()), dim = Evaluator::vectorDim(shape);
  const Place result = k.newPlace(op.getResult());
  const int64_t chunk = evaluator.chunkOf(shape[dim]), step = axis == dim ? chunk : 1;
  const mlir::Type element = laneType(e, tile::dtypeOf(op.getX()));

  const auto prefix = [&](Value value) {  // inclusive sums of one chunk
    for (int64_t shift = 1; shift < chunk; shift *= 2) {
      SmallVector<int64_t> mask(chunk);
      for (int64_t i = 0; i < chunk; ++i) mask[i] = i < shift ? chunk : i - shift;
      value = e.add(value, e.shuffle(value, e.constant(value.getType(), 0), mask));
    }
    return value;
  };
  SmallVector<int64_t, 3> outer(shape.begin(), shape.end());
  outer[axis] = 1;
  evaluator.forEachChunk(
      outer, axis == dim ? Evaluator::vectorDim(outer) : dim, axis == dim ? 1 : chunk,
      /*limit=*/2, [&](const Lanes& point) {
        Lanes lanes = point;
        lanes.dim = dim;
        lanes.count = chunk;
        const mlir::Type sumType = axis == dim ? element : e.type(element, chunk);
        e.loop(e.i64(0), e.i64(shape[axis]), e.i64(step), ValueRange{e.constant(sumType, 0)},
               [&](Value at, ValueRange carried) {
                 Value sum;
                 evaluator.scoped([&] {
                   lanes.at[axis] = at;
                   const Value value = evaluator.eval(op.getX(), lanes);
                   const Value total = axis == dim
                                           ? e.add(prefix(value), e.splat(carried[0], chunk))
                                           : e.add(carried[0], value);
                   evaluator.write(result, total, lanes);
                   sum = axis == dim ? e.extract(total, chunk - 1) : total;
                 });
                 return SmallVector<Value>{sum};
               });
      });
  evaluator.places[op.getResult()] = result;
  evaluator.forget();
}

void lowerConcat(KernelLowering& k, tile::ConcatOp op) {
  const Place result = k.newPlace(op.getResult());
  Place second = result;
  const int axis = static_cast<int>(op.getAxis());
  const Index start = scale(k.e, result.strides[axis], tile::typeOf(op.getA()).getShape()[axis]);
  const Index bytes = result.dtype == DType::f4e2m1 ? divide(k.e, start, 2)
                                                    : scale(k.e, start, bits(result.dtype) / 8);
  second.pointer = offset(k.e, result.pointer, bytes);
  k.storeTo(result, op.getA());
  k.storeTo(second, op.getB());
  k.evaluator.places[op.getResult()] = result;
}

/// One element at a time: the index decides the address.
void lowerTake(KernelLowering& k, tile::TakeOp op) {
  Emitter& e = k.e;
  const Place from = k.placeOf(op.getA()), result = k.newPlace(op.getResult());
  const ArrayRef<int64_t> shape = tile::typeOf(op.getResult()).getShape();
  const int last = static_cast<int>(shape.size()) - 1;
  const int64_t extent = tile::typeOf(op.getA()).getShape()[last];
  k.evaluator.forEachChunk(shape, last, 1, /*limit=*/8, [&](const Lanes& lanes) {
    const Value index = k.evaluator.eval(op.getB(), lanes);
    const Value inside = e.compare(CmpIPredicate::ult, index, e.integer(e.i32(), extent));
    Lanes there = lanes;
    there.at[last] = e.select(inside, e.signExtend(index, e.i64()), e.i64(0));
    const Value value = k.evaluator.read(from, there);
    k.evaluator.write(result, e.select(inside, value, e.constant(value.getType(), 0)), lanes);
  });
  k.evaluator.places[op.getResult()] = result;
  k.evaluator.forget();
}

void lowerHistogram(KernelLowering& k, tile::HistogramOp op) {
  Emitter& e = k.e;
  const Place result = k.newPlace(op.getResult());
  const int64_t bins = static_cast<int64_t>(op.getBins());
  k.views.fill(result.pointer, DType::i32, bins, 0);
  k.evaluator.forget();
  k.evaluator.forEachChunk(
      tile::typeOf(op.getX()).getShape(), 0, 1, /*limit=*/4, [&](const Lanes& lanes) {
        const Value bin = k.evaluator.eval(op.getX(), lanes);
        Value counts = e.compare(CmpIPredicate::ult, bin, e.integer(e.i32(), bins));
        if (op.getMask()) counts = e.andi(counts, k.evaluator.eval(op.getMask(), lanes));
        const Value at = e.select(counts, e.signExtend(bin, e.i64()), e.i64(0));
        const Value address = e.offset(result.pointer, e.shl(at, 2));
        e.store(e.add(e.load(e.i32(), address, 4), e.zeroExtend(counts, e.i32())), address, 4);
      });
  k.evaluator.places[op.getResult()] = result;
  k.evaluator.forget();
}

}  // namespace tessera::compiler::cpu
