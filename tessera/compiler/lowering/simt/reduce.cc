// SPDX-License-Identifier: Apache-2.0
// Reductions: in registers, then between lanes, then between warps. A tree whose shape follows from
// the layout; every thread ends with the result, bit for bit the same.
#include "llvm/ADT/Sequence.h"
#include "tessera/compiler/lowering/lanes/math.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/ordering.h"

namespace tessera::compiler::simt {

namespace arith = mlir::arith;
using llvm::SmallVector;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// Thread bits that one pass through memory combines: each thread then reads 2^this values.
constexpr size_t kBitsAPass = 3;
/// Registers that one pass takes along.
constexpr size_t kRegistersAPass = 16;

/// A running reduction: the value, and for argmax and argmin its index.
struct Best {
  Value value, index;
};

Best combine(Emitter& e, Reduction kind, Best a, Best b) {
  const bool is_float = llvm::isa<mlir::FloatType>(a.value.getType());
  if (kind == Reduction::sum) return {e.add(a.value, b.value), {}};
  if (kind == Reduction::max || kind == Reduction::min) {
    const bool greatest = kind == Reduction::max;
    if (is_float)  // a NaN operand gives NaN
      return {greatest ? maxFloat(e, a.value, b.value) : minFloat(e, a.value, b.value), {}};
    return {greatest ? e.maxSigned(a.value, b.value) : e.minSigned(a.value, b.value), {}};
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

/// NVIDIA's instruction that combines the integers of a warp; null: there is none.
Value combineWarp(Emitter& e, Reduction kind, Value value) {
  if (e.target.ptx < 80 || value.getType() != e.i32()) return {};
  const auto combined = [&](llvm::StringRef name) {
    return e.intrinsic(("llvm.nvvm.redux.sync." + name).str(), e.i32(), {value, e.i32(-1)});
  };
  switch (kind) {
    case Reduction::sum: return combined("add");
    case Reduction::max: return combined("max");
    case Reduction::min: return combined("min");
    default: return {};
  }
}

}  // namespace

void KernelLowering::lowerReduce(ReduceOp op) {
  const lang::TileShape shape = shapeOf(op.getX());
  const auto axis = static_cast<int>(op.getAxis());
  const int first = firstBit(shape, axis), end = first + bitCount(shape, axis);
  const auto onAxis = [&](int bit) { return bit >= first && bit < end; };
  const Reduction kind = op.getKind();
  const bool arg = kind == Reduction::argmax || kind == Reduction::argmin;
  const Registers source = get(op.getX());
  // A product that lies where its factors do is fused into its sum.
  auto product = kind == Reduction::sum ? op.getX().getDefiningOp<MulOp>() : MulOp();
  const auto liesAlike = [&](Value x) {
    const Layout* own = layouts_.of(x);
    return own != nullptr && *own == source.layout;
  };
  Registers factors[2];
  if (product && dtypeOf(op.getX()) == DType::f32 &&
      llvm::all_of(product->getOperands(), liesAlike))
    for (const int i : {0, 1}) factors[i] = get(product->getOperand(i), source.layout);
  const Layout result = source.layout.renamed(Reduced{shape, axis});

  // Registers, in the order of their positions; results that differ off the axis stay apart.
  SmallVector<Best> best(static_cast<size_t>(result.registerCount()));
  const SmallVector<Value> ofRows = sumsOfNarrow(op, source);
  for (auto [own, sum] : llvm::zip(best, ofRows)) own.value = sum;
  const Value base = arg ? threadIndex(source.layout, shape, axis) : Value();
  for (int64_t r = 0; ofRows.empty() && r < source.layout.registerCount(); ++r) {
    int64_t position = 0;
    for (auto [i, bit] : llvm::enumerate(source.layout.registers))
      if (((r >> i) & 1) && !onAxis(bit)) position |= int64_t{1} << Reduced{shape, axis}(bit);
    const Best one = {
        source.values[r],
        arg ? e_.add(base, e_.i32(registerIndex(source.layout, shape, axis, r))) : Value()};
    Best& into = best[result.registerOf(position)];
    if (into.value && !factors[0].values.empty())
      into.value = e_.fma(factors[0].values[r], factors[1].values[r], into.value);
    else
      into = into.value ? combine(e_, kind, into, one) : one;
  }

  const int firstLane = ofRows.empty() ? 0 : 2;  // of those whose sums are apart
  const auto combines = [&](int t) {
    return t >= firstLane && source.layout.threads[t] != Layout::kCopies &&
           onAxis(source.layout.threads[t]);
  };
  bool wholeWarps = llvm::all_of(llvm::seq(0, target_.laneBits), combines);
  for (Best& own : best) {
    const Value combined = wholeWarps ? combineWarp(e_, kind, own.value) : Value();
    wholeWarps &= combined != Value();
    if (wholeWarps) own.value = combined;
  }
  SmallVector<int> between;  // thread bits only memory can combine
  for (int t = 0; t < static_cast<int>(source.layout.threads.size()); ++t) {
    if (!combines(t) || (wholeWarps && t < target_.laneBits)) continue;
    if (t >= target_.laneBits) {
      between.push_back(t);
      continue;
    }
    for (Best& own : best) {
      const Best other = {exchange(own.value, t), arg ? exchange(own.index, t) : Value()};
      own = combine(e_, kind, own, other);
    }
  }

  const DType dtype = dtypeOf(op.getX());
  for (size_t from = 0; from < between.size(); from += kBitsAPass) {
    const auto bits =
        llvm::ArrayRef(between).slice(from, std::min(kBitsAPass, between.size() - from));
    for (size_t begin = 0; begin < best.size(); begin += kRegistersAPass) {
      const auto part =
          llvm::MutableArrayRef(best).slice(begin, std::min(kRegistersAPass, best.size() - begin));
      const int64_t top = shared_.top(), words = static_cast<int64_t>(part.size()) * threads();
      const Array values = shared_.allocate(e_.loc, dtype, words);
      const Array indices = arg ? shared_.allocate(e_.loc, DType::i32, words) : Array();
      shared_.beforeWrite(e_.loc, values);
      if (arg) shared_.beforeWrite(e_.loc, indices);
      const auto place = [&](size_t r, Value thread) {
        return e_.add(thread, e_.i32(static_cast<int64_t>(r) * threads()));
      };
      for (auto [r, own] : llvm::enumerate(part)) {
        memory_.store(e_.loc, own.value, values, place(r, thread_));
        if (arg) memory_.store(e_.loc, own.index, indices, place(r, thread_));
      }
      shared_.beforeRead(e_.loc, values);
      if (arg) shared_.beforeRead(e_.loc, indices);
      int64_t mask = 0;
      for (int t : bits) mask |= int64_t{1} << t;
      const Value others = e_.andi(thread_, ~mask & (threads() - 1));
      for (auto [r, own] : llvm::enumerate(part)) {
        Best sum;
        for (int64_t peer = 0; peer < int64_t{1} << bits.size(); ++peer) {
          int64_t number = 0;
          for (auto [i, t] : llvm::enumerate(bits))
            if ((peer >> i) & 1) number |= int64_t{1} << t;
          const Value at = place(r, e_.ori(others, number));
          const Best one = {memory_.load(e_.loc, values, at),
                            arg ? memory_.load(e_.loc, indices, at) : Value()};
          sum = sum.value ? combine(e_, kind, sum, one) : one;
        }
        own = sum;
      }
      shared_.release(top);
    }
  }
  Registers reduced{result, {}};
  for (const Best& own : best) reduced.values.push_back(arg ? own.index : own.value);
  set(op.getResult(), reduced);
}

}  // namespace tessera::compiler::simt
