// SPDX-License-Identifier: Apache-2.0
// Operations that combine elements of different owners: reductions, scans, sorts and products.
#include "llvm/Support/MathExtras.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
namespace scf = mlir::scf;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// for (i = lo; i < hi; i += step) over i32 with carried values.
llvm::SmallVector<Value> loop(
    Emitter& e, Value lo, Value hi, Value step, llvm::ArrayRef<Value> init,
    llvm::function_ref<llvm::SmallVector<Value>(Value, mlir::ValueRange)> body) {
  auto op = scf::ForOp::create(e.builder, e.loc, lo, hi, step, init);
  mlir::OpBuilder::InsertionGuard guard(e.builder);
  if (init.empty())
    e.builder.setInsertionPoint(op.getBody()->getTerminator());
  else
    e.builder.setInsertionPointToEnd(op.getBody());
  const auto next = body(op.getInductionVar(), op.getRegionIterArgs());
  if (!init.empty()) scf::YieldOp::create(e.builder, e.loc, next);
  return {op.getResults().begin(), op.getResults().end()};
}

Value isNan(Emitter& e, Value x) { return e.compare(arith::CmpFPredicate::UNO, x, x); }

/// A running reduction: the value, and for argmax and argmin its index.
struct Best {
  Value value, index;
};

Best combine(Emitter& e, Reduction kind, Best a, Best b) {
  const bool is_float = llvm::isa<mlir::FloatType>(a.value.getType());
  if (kind == Reduction::sum) return {e.add(a.value, b.value), {}};
  if (kind == Reduction::max || kind == Reduction::min) {
    if (!is_float)
      return {
          kind == Reduction::max ? e.maxSigned(a.value, b.value) : e.minSigned(a.value, b.value),
          {}};
    // A NaN operand gives NaN.
    const auto predicate =
        kind == Reduction::max ? arith::CmpFPredicate::OGT : arith::CmpFPredicate::OLT;
    const Value keep = e.ori(e.compare(predicate, a.value, b.value), isNan(e, a.value));
    return {e.select(keep, a.value, b.value), {}};
  }
  // b replaces a if it is better, or equal with a lower index; NaN loses to any number.
  const bool greatest = kind == Reduction::argmax;
  Value better, equal;
  if (is_float) {
    better = e.compare(greatest ? arith::CmpFPredicate::OGT : arith::CmpFPredicate::OLT, b.value,
                       a.value);
    const Value a_nan = isNan(e, a.value), b_nan = isNan(e, b.value);
    better = e.ori(better, e.andi(a_nan, e.xori(b_nan, 1)));
    equal = e.ori(e.compare(arith::CmpFPredicate::OEQ, a.value, b.value), e.andi(a_nan, b_nan));
  } else {
    better = e.compare(greatest ? arith::CmpIPredicate::sgt : arith::CmpIPredicate::slt, b.value,
                       a.value);
    equal = e.compare(arith::CmpIPredicate::eq, a.value, b.value);
  }
  const Value lower = e.compare(arith::CmpIPredicate::slt, b.index, a.index);
  const Value take = e.ori(better, e.andi(equal, lower));
  return {e.select(take, b.value, a.value), e.select(take, b.index, a.index)};
}

}  // namespace

/// Each result is shared by `parts` threads: thread p of a result combines elements p, p + parts,
/// .., and a tree over the parts finishes it. The order follows from the shape and the number of
/// threads.
void KernelLowering::lowerReduce(ReduceOp op) {
  const Value source = op.getX(), result = op.getResult();
  const lang::TileType in = typeOf(source), out = typeOf(result);
  const int64_t axis = op.getAxis(), extent = in.shape[axis], results = out.shape.numel();
  const bool arg = op.getKind() == Reduction::argmax || op.getKind() == Reduction::argmin;
  const int64_t parts =
      std::max<int64_t>(1, std::min(extent, threads_ / std::min(results, threads_)));

  const auto element = [&](const Point& o, Value k) -> Best {
    llvm::SmallVector<Value> index(o.index.begin(), o.index.end());
    index[axis] = k;
    return {evaluate(source, pointFrom(in.shape, index)), arg ? k : Value()};
  };
  const auto partial = [&](const Point& o, Value part) -> Best {
    Best first = element(o, part);
    llvm::SmallVector<Value> init = {first.value};
    if (arg) init.push_back(first.index);
    const auto last = loop(e_, e_.add(part, e_.i32(parts)), e_.i32(extent), e_.i32(parts), init,
                           [&](Value k, mlir::ValueRange now) -> llvm::SmallVector<Value> {
                             const Best best = combine(
                                 e_, op.getKind(), {now[0], arg ? now[1] : Value()}, element(o, k));
                             return arg ? llvm::SmallVector<Value>{best.value, best.index}
                                        : llvm::SmallVector<Value>{best.value};
                           });
    return {last[0], arg ? last[1] : Value()};
  };
  if (parts == 1) {
    materialise(result, [&](const Point& p) {
      const Best best = partial(p, e_.i32(0));
      return arg ? best.index : best.value;
    });
    return;
  }

  // Scratch for one partial result a thread; released with this operation.
  const int64_t top = sharedTop_, words = results * parts;
  const Array values = memory_.allocateShared(e_.loc, in.dtype, words, top);
  const Array indices =
      arg ? memory_.allocateShared(e_.loc, DType::i32, words, top + values.words()) : Array();
  sharedTop_ = top + values.words() + (arg ? words : 0);
  sharedPeak_ = std::max(sharedPeak_, sharedTop_);
  lang::TileShape line;
  line.push_back(words);
  const auto put = [&](Value at, const Best& best) {
    memory_.store(e_.loc, best.value, values, at);
    if (arg) memory_.store(e_.loc, best.index, indices, at);
  };
  const auto get = [&](Value at) -> Best {
    return {memory_.load(e_.loc, values, at), arg ? memory_.load(e_.loc, indices, at) : Value()};
  };
  barrier();
  forOwned(line, [&](const Point& p) {  // word = result * parts + part
    const Value part = e_.andi(p.linear, parts - 1);
    put(p.linear, partial(pointAt(out.shape, e_.shr(p.linear, llvm::Log2_64(parts))), part));
  });
  loop(e_, e_.i32(1), e_.i32(llvm::Log2_64(parts) + 1), e_.i32(1), {},
       [&](Value level, mlir::ValueRange) {
         const Value half = arith::ShRUIOp::create(e_.builder, e_.loc, e_.i32(parts), level);
         barrier();
         forOwned(line, [&](const Point& p) {
           const Value part = e_.andi(p.linear, parts - 1);
           e_.ifThen(e_.compare(arith::CmpIPredicate::ult, part, half), [&] {
             put(p.linear, combine(e_, op.getKind(), get(p.linear), get(e_.add(p.linear, half))));
           });
         });
         return llvm::SmallVector<Value>();
       });
  barrier();
  materialise(result, [&](const Point& p) {
    const Best best = get(e_.shl(p.linear, llvm::Log2_64(parts)));
    return arg ? best.index : best.value;
  });
  // The scratch stays reserved to the end of the block: the result may lie behind it.
}

/// In log2(n) steps: each adds the partial sum that ends `step` elements before.
void KernelLowering::lowerScan(ScanOp op) {
  const lang::TileType type = typeOf(op.getX());
  const int64_t axis = op.getAxis();
  materialise(op.getResult(), [&](const Point& p) { return evaluate(op.getX(), p); });
  const Array sums = arrays_[op.getResult()];
  int64_t below = 1;  // elements of one step along the axis
  for (int d = static_cast<int>(axis) + 1; d < type.shape.rank(); ++d) below *= type.shape[d];
  const Array fresh = memory_.allocatePrivate(e_.loc, type.dtype,
                                              std::max<int64_t>(1, type.shape.numel() / threads_));
  const int64_t steps = llvm::Log2_64(type.shape[axis]);
  loop(e_, e_.i32(0), e_.i32(steps), e_.i32(1), {}, [&](Value turn, mlir::ValueRange) {
    const Value step = arith::ShLIOp::create(e_.builder, e_.loc, e_.i32(1), turn);
    forOwned(type.shape, [&](const Point& p) {
      const Value has = e_.compare(arith::CmpIPredicate::uge, p.index[axis], step);
      const Value before = e_.select(has, e_.sub(p.linear, e_.mul(step, e_.i32(below))), p.linear);
      const Value own = memory_.load(e_.loc, sums, p.linear);
      const Value sum = e_.add(memory_.load(e_.loc, sums, before), own);
      memory_.store(e_.loc, e_.select(has, sum, own), fresh, p.owned);
    });
    barrier();
    forOwned(type.shape, [&](const Point& p) {
      memory_.store(e_.loc, memory_.load(e_.loc, fresh, p.owned), sums, p.linear);
    });
    barrier();
    return llvm::SmallVector<Value>();
  });
}

void KernelLowering::lowerHistogram(HistogramOp op) {
  materialise(op.getResult(), [&](const Point&) { return e_.i32(0); });
  const Array bins = arrays_[op.getResult()];
  forOwned(typeOf(op.getX()).shape, [&](const Point& p) {
    const Value bin = evaluate(op.getX(), p);
    Value counted = e_.compare(arith::CmpIPredicate::ult, bin, e_.i32(bins.count));
    if (op.getMask()) counted = e_.andi(counted, evaluate(op.getMask(), p));
    e_.ifThen(counted, [&] { memory_.atomicAddShared(e_.loc, e_.i32(1), bins, bin); });
  });
  barrier();
}

/// A bitonic network over both arrays in shared memory.
void KernelLowering::lowerSort(SortOp op) {
  const lang::TileType type = typeOf(op.getKey());
  const int64_t n = type.shape.last(), pairs = type.shape.numel() / 2;
  const bool is_float = type.dtype == DType::f32;
  materialise(op.getKeys(), [&](const Point& p) { return evaluate(op.getKey(), p); });
  materialise(op.getValues(), [&](const Point& p) { return evaluate(op.getValue(), p); });
  const Array keys = arrays_[op.getKeys()], values = arrays_[op.getValues()];

  // Whether (ka, va) belongs behind (kb, vb).
  const auto behind = [&](Value ka, Value va, Value kb, Value vb) {
    Value after, equal;
    if (is_float) {
      const auto order = op.getDescending() ? arith::CmpFPredicate::OLT : arith::CmpFPredicate::OGT;
      const Value a_nan = isNan(e_, ka), b_nan = isNan(e_, kb);
      after = e_.ori(e_.compare(order, ka, kb), e_.andi(a_nan, e_.xori(b_nan, 1)));
      equal = e_.ori(e_.compare(arith::CmpFPredicate::OEQ, ka, kb), e_.andi(a_nan, b_nan));
    } else {
      const bool is_unsigned = type.dtype == DType::u32;
      const auto order =
          op.getDescending()
              ? (is_unsigned ? arith::CmpIPredicate::ult : arith::CmpIPredicate::slt)
              : (is_unsigned ? arith::CmpIPredicate::ugt : arith::CmpIPredicate::sgt);
      after = e_.compare(order, ka, kb);
      equal = e_.compare(arith::CmpIPredicate::eq, ka, kb);
    }
    return e_.ori(after, e_.andi(equal, e_.compare(arith::CmpIPredicate::sgt, va, vb)));
  };
  lang::TileShape line;
  line.push_back(std::max<int64_t>(1, pairs));
  const auto power = [&](Value exponent) -> Value {
    return arith::ShLIOp::create(e_.builder, e_.loc, e_.i32(1), exponent);
  };
  // Loops, not log2(n)^2 / 2 copies: drivers compile long straight code slowly.
  loop(e_, e_.i32(1), e_.i32(llvm::Log2_64(n) + 1), e_.i32(1), {},
       [&](Value merge, mlir::ValueRange) {
         const Value size = power(merge);
         loop(e_, e_.i32(0), merge, e_.i32(1), {}, [&](Value turn, mlir::ValueRange) {
           const Value stride = power(e_.sub(e_.sub(merge, e_.i32(1)), turn));
           forOwned(line, [&](const Point& p) {
             // Pair number -> first element: a zero bit is inserted at the stride's place.
             const Value low = e_.andi(p.linear, e_.sub(stride, e_.i32(1)));
             const Value a = e_.add(e_.shl(e_.sub(p.linear, low), 1), low), b = e_.add(a, stride);
             const Value ka = memory_.load(e_.loc, keys, a), kb = memory_.load(e_.loc, keys, b);
             const Value va = memory_.load(e_.loc, values, a), vb = memory_.load(e_.loc, values, b);
             // The last merge (size = n) runs forward in every row.
             const Value backward =
                 e_.compare(arith::CmpIPredicate::ne, e_.andi(e_.andi(a, n - 1), size), e_.i32(0));
             const Value swap = e_.select(backward, behind(kb, vb, ka, va), behind(ka, va, kb, vb));
             memory_.store(e_.loc, e_.select(swap, kb, ka), keys, a);
             memory_.store(e_.loc, e_.select(swap, ka, kb), keys, b);
             memory_.store(e_.loc, e_.select(swap, vb, va), values, a);
             memory_.store(e_.loc, e_.select(swap, va, vb), values, b);
           });
           barrier();
           return llvm::SmallVector<Value>();
         });
         return llvm::SmallVector<Value>();
       });
}

/// a[m, k] * b[n, k] with scales, as the accumulator's type.
Value KernelLowering::product(Operation* op, const Point& out, Value k) {
  const auto number = [&](Value operand, llvm::ArrayRef<Value> index) {
    const lang::TileType type = typeOf(operand);
    const Value value = evaluate(operand, pointFrom(type.shape, index));
    if (type.dtype == DType::f32 || type.dtype == DType::i32) return value;
    return convert(e_, type.dtype, type.dtype == DType::i8 ? DType::i32 : DType::f32, value);
  };
  const Value m = out.index[0], n = out.index[1];
  if (auto dot = llvm::dyn_cast<DotOp>(op)) {
    const Value b = dot.getBIsKn() ? number(dot.getB(), {k, n}) : number(dot.getB(), {n, k});
    return e_.mul(number(dot.getA(), {m, k}), b);
  }
  auto dot = llvm::cast<DotScaledOp>(op);
  const auto scaled = [&](Value operand, Value scale, Value row) {
    const Value value = number(operand, {row, k});
    if (!scale) return value;
    // Element (r, g) of the scales belongs to a block of rows and of k.
    const lang::TileShape shape = typeOf(operand).shape, scales = typeOf(scale).shape;
    const Value r = e_.shr(row, llvm::Log2_64(shape[0] / scales[0])),
                g = e_.shr(k, llvm::Log2_64(shape[1] / scales[1]));
    return e_.mul(value, number(scale, {r, g}));
  };
  return e_.mul(scaled(dot.getA(), dot.getAScale(), m), scaled(dot.getB(), dot.getBScale(), n));
}

void KernelLowering::lowerDot(Operation* op) {
  const Value acc = op->getOperand(2), result = op->getResult(0);
  const int64_t k = typeOf(op->getOperand(0)).shape[1];
  materialise(result, [&](const Point& p) {
    return loop(e_, e_.i32(0), e_.i32(k), e_.i32(1), {evaluate(acc, p)},
                [&](Value step, mlir::ValueRange sum) -> llvm::SmallVector<Value> {
                  return {e_.add(sum[0], product(op, p, step))};
                })[0];
  });
}

}  // namespace tessera::compiler::simt
