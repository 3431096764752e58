// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_rows.h"

#include <algorithm>

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/base/check.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;
using mlir::arith::CmpIPredicate;

constexpr int64_t kLine = 64;
constexpr int64_t kPrefetchAhead = 12 * 1024;  // bytes; into L2: further than L1 could hold
constexpr int64_t kUnrolledVectors = 8;

/// How scales of b meet the products.
enum class Scaling {
  kNone,
  kGroups,     // one scale for whole vectors: partial sums of a group times the scale
  kLanes,      // a vector of scales, lanes in order of their groups
  kLanesFast,  // the same, e8m0 bytes within [1, 254]
  kFolded,     // in the exponents of the weights
};

/// Rows of b worked on side by side with `used` rows of a: enough to use each loaded activation
/// several times, and to hide the latency of the sums.
int64_t sideBySide(const Emitter& e, const DotTask& task, int64_t used) {
  const int64_t accumulators = e.target.registers / 2;
  const int64_t rows = task.m <= 2 ? 1 : std::min<int64_t>(used <= 2 ? 8 : 4, accumulators / used);
  return std::clamp<int64_t>(rows, 1, task.n);
}

/// Products of all rows of a with `count` neighbouring rows of b.
class RowBlock {
 public:
  RowBlock(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a, Value row,
           int64_t count)
      : e_(e), task_(task), decoder_(decoder), row_(row), count_(count) {
    for (int64_t m = 0; m < task.m; ++m) a_.push_back(a.row(e, m));
    for (int64_t r = 0; r < count; ++r)
      b_.push_back(e.offset(task.b.pointer, e.mul(e.add(row, e.i64(r)), task.b.rowStride)));
  }

  /// `accumulators` [at least used][count] with the products of the first `used` rows of a added.
  /// The order of summation depends on neither `used` nor `count`.
  Values run(Values accumulators, Scaling scaling, int64_t used) {
    scaling_ = scaling;
    used_ = used;
    unit_ = decoder_.step();
    // Code of narrow vectors would grow with every element that is not behind a loop.
    const int64_t unrolled = kUnrolledVectors * e_.target.lanes;
    if (scaling == Scaling::kGroups)
      unit_ = std::max(unit_, std::min(groupOf(*task_.bScale, task_.k), unrolled));
    const int64_t units = task_.k / unit_, pairs = static_cast<int64_t>(accumulators.size());
    // Independent sums hide the latency of the additions where there are few accumulators.
    const int64_t all = task_.m * sideBySide(e_, task_, task_.m);
    const int64_t chains =
        scaling == Scaling::kNone ? std::min<int64_t>(units, std::max<int64_t>(1, 8 / all)) : 1;
    const Values initial = accumulators;
    for (int64_t chain = 1; chain < chains; ++chain)
      for (Value value : initial) accumulators.push_back(e_.constant(value.getType(), 0));
    const int64_t unroll =
        std::min(units, std::max({chains, e_.target.lanes / pairs, unrolled / unit_}));
    const auto emit = [&](Value first, mlir::ValueRange carried) {
      Values values(carried);
      for (int64_t i = 0; i < unroll; ++i) {
        const size_t chain = i % chains * pairs;
        Values part(llvm::ArrayRef(values).slice(chain, pairs));
        unitProducts(first, i * unit_, i + 1 < unroll, part);
        std::copy(part.begin(), part.end(), values.begin() + chain);
      }
      return values;
    };
    if (unroll == units)
      accumulators = emit(e_.i64(0), accumulators);
    else
      accumulators =
          e_.loop(e_.i64(0), e_.i64(task_.k), e_.i64(unroll * unit_), accumulators, emit);
    for (int64_t chain = chains - 1; chain > 0; --chain)
      for (int64_t i = 0; i < pairs; ++i)
        accumulators[(chain - 1) * pairs + i] =
            e_.add(accumulators[(chain - 1) * pairs + i], accumulators[chain * pairs + i]);
    accumulators.resize(pairs);
    return accumulators;
  }

 private:
  int64_t bytesOfB(int64_t elements) const { return size_in_bytes(task_.b.dtype, elements); }
  Value bytesOfB(Value elements) {
    const int width = bits(task_.b.dtype);
    return width < 8 ? e_.shr(elements, 1) : e_.mul(elements, e_.i64(width / 8));
  }
  Value scaleAt(int64_t r, Value first, int64_t sub) {
    const DotScale& scale = *task_.bScale;
    const Value group = divide(e_, e_.add(first, e_.i64(sub)), groupOf(scale, task_.k));
    return scaleAddress(e_, scale, e_.add(row_, e_.i64(r)), task_.n, group);
  }

  /// One row's decoded weights of a unit, and their scale in the lanes of the sums; null: none, or
  /// folded in.
  struct Weights {
    Values vectors;
    Value scale;
  };

  /// Elements [first + sub, first + sub + unit) of all rows.
  void unitProducts(Value first, int64_t sub, bool readsOn, Values& accumulators) {
    const Value bBytes = bytesOfB(first);
    const Value aBytes = e_.mul(first, e_.i64(bytesOf(decoder_.form())));
    llvm::SmallVector<Value> a;
    for (Value row : llvm::ArrayRef(a_).take_front(used_))
      a.push_back(e_.offset(e_.offset(row, aBytes), sub * bytesOf(decoder_.form())));
    // With few rows of a, activations come cheaply from memory and decoded weights of several rows
    // would crowd the registers.
    const bool rowByRow = used_ <= 2;
    llvm::SmallVector<Weights> weights;
    for (int64_t r = 0; r < count_; ++r) {
      const Value b = e_.offset(e_.offset(b_[r], bBytes), bytesOfB(sub));
      // Past the rows worked on side by side, so that each line is asked for once and early.
      const Value ahead = e_.offset(b, e_.mul(task_.b.rowStride, e_.i64(count_ - 1)));
      if (task_.b.inView)
        for (int64_t line = (kLine - bytesOfB(sub) % kLine) % kLine; line < bytesOfB(unit_);
             line += kLine)
          e_.prefetch(e_.offset(ahead, kPrefetchAhead + line), 2);
      weights.push_back(weightsOf(r, first, sub, b, readsOn));
      if (!rowByRow) continue;
      multiply(a, weights, r, accumulators);
      weights.clear();
    }
    if (!rowByRow) multiply(a, weights, 0, accumulators);
  }

  /// Rows of b from `firstRow` on, as many as there are weights.
  void multiply(llvm::ArrayRef<Value> a, llvm::ArrayRef<Weights> weights, int64_t firstRow,
                Values& accumulators) {
    if (!weights[0].scale) return directProducts(a, weights, firstRow, accumulators);
    for (int64_t m = 0; m < used_; ++m)
      rowProducts(a[m], weights,
                  llvm::MutableArrayRef(accumulators)
                      .slice(m * count_ + firstRow, static_cast<int64_t>(weights.size())));
  }

  Weights weightsOf(int64_t r, Value first, int64_t sub, Value b, bool readsOn) {
    const int64_t step = decoder_.step();
    if (scaling_ == Scaling::kFolded) {
      const mlir::Type bytes = e_.type(e_.i8(), step / 32);
      return {decoder_.decodeFp4Folded(b, e_.load(bytes, scaleAt(r, first, sub))), {}};
    }
    Weights weights;
    for (int64_t at = 0; at < unit_; at += step)
      weights.vectors.append(
          decoder_.decode(e_.offset(b, bytesOfB(at)), readsOn || at + step < unit_));
    weights.scale = scaleVector(r, first, sub);
    return weights;
  }

  Value activations(Value a, size_t v) {
    const DotForm form = decoder_.form();
    return e_.load(e_.type(elementOf(e_, form), decoder_.width()),
                   e_.offset(a, static_cast<int64_t>(v) * decoder_.width() * bytesOf(form)));
  }

  /// Without scales: each vector of weights is used up before the next is needed.
  void directProducts(llvm::ArrayRef<Value> a, llvm::ArrayRef<Weights> weights, int64_t firstRow,
                      Values& accumulators) {
    for (size_t v = 0; v < weights[0].vectors.size(); ++v)
      for (int64_t m = 0; m < used_; ++m) {
        const Value x = activations(a[m], v);
        for (size_t r = 0; r < weights.size(); ++r) {
          Value& sum = accumulators[m * count_ + firstRow + static_cast<int64_t>(r)];
          sum = multiplyAdd(e_, decoder_.form(), sum, weights[r].vectors[v], x);
        }
      }
  }

  /// One row of a, with scales: sums of a unit, times the scale.
  void rowProducts(Value a, llvm::ArrayRef<Weights> weights,
                   llvm::MutableArrayRef<Value> accumulators) {
    Values sums;
    for (size_t v = 0; v < weights[0].vectors.size(); ++v) {
      const Value x = activations(a, v);
      for (size_t r = 0; r < weights.size(); ++r) {
        const Value w = weights[r].vectors[v];
        if (v == 0 && decoder_.form() == DotForm::kF32) {
          sums.push_back(e_.mul(w, x));
          continue;
        }
        if (v == 0) sums.push_back(e_.constant(accumulators[r].getType(), 0));
        sums[r] = multiplyAdd(e_, decoder_.form(), sums[r], w, x);
      }
    }
    for (size_t r = 0; r < weights.size(); ++r)
      accumulators[r] = e_.fma(sums[r], weights[r].scale, accumulators[r]);
  }

  /// Scales of the unit, one for each lane of an accumulator; null without scales.
  Value scaleVector(int64_t r, Value first, int64_t sub) {
    if (scaling_ == Scaling::kNone) return {};
    const DType dtype = task_.bScale->dtype;
    const int64_t lanes = decoder_.lanes();
    const Value address = scaleAt(r, first, sub);
    if (scaling_ == Scaling::kGroups) return e_.splat(loadScale(e_, dtype, address), lanes);
    if (scaling_ == Scaling::kLanesFast) return scalesOfGroups(e_, address);
    const int64_t lanesOfGroup = groupOf(*task_.bScale, task_.k) / decoder_.laneGroup();
    llvm::SmallVector<int64_t> spread;
    for (int64_t lane = 0; lane < lanes; ++lane) spread.push_back(lane / lanesOfGroup);
    const int64_t groups = lanes / lanesOfGroup;
    const auto wide = [&](Value loaded) { return e_.shuffle(loaded, Value(), spread); };
    if (dtype == DType::f32) return wide(e_.load(e_.type(e_.f32(), groups), address));
    const Value bytes = e_.zeroExtend(e_.load(e_.type(e_.i8(), groups), address), e_.i32());
    return scaleOfBytes(e_, wide(bytes));
  }

  Emitter& e_;
  const DotTask& task_;
  Decoder& decoder_;
  Value row_;
  int64_t count_;
  Values a_, b_;
  Scaling scaling_ = Scaling::kNone;
  int64_t unit_ = 0, used_ = 0;
};

Scaling scalingOf(const DotTask& task, const Decoder& decoder) {
  if (!task.bScale) return Scaling::kNone;
  return groupOf(*task.bScale, task.k) >= decoder.step() ? Scaling::kGroups : Scaling::kLanes;
}

/// The fast form of exact lane scales that this task has, or kLanes.
Scaling fastScaling(const Emitter& e, const DotTask& task, const Decoder& decoder) {
  if (task.bScale->dtype != DType::f8e8m0 || !e.target.hasAvx512 || decoder.lanes() != 16 ||
      decoder.laneGroup() != 8 || groupOf(*task.bScale, task.k) != 32)
    return Scaling::kLanes;
  return task.m >= 4 && decoder.folds(32) ? Scaling::kFolded : Scaling::kLanesFast;
}

/// Accumulators of `count` rows from `row`, over all of k, for the first `used` rows of a.
Values productsOfUsed(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a,
                      Value row, int64_t count, const Values& accumulators, int64_t used) {
  RowBlock block(e, task, decoder, a, row, count);
  const Scaling exact = scalingOf(task, decoder);
  if (exact != Scaling::kLanes) return block.run(accumulators, exact, used);
  const Scaling fast = fastScaling(e, task, decoder);
  if (fast == Scaling::kLanes) return block.run(accumulators, exact, used);
  const bool folded = fast == Scaling::kFolded;
  const Value outside = scalesOutside(e, task, row, count, folded ? decoder.foldLow() : 1,
                                      folded ? decoder.foldHigh() : 254);
  return branch(
      e, outside, [&] { return block.run(accumulators, exact, used); },
      [&] { return block.run(accumulators, fast, used); });
}

/// The same for all rows of a, with code for fewer where it is known at run time that they are
/// unused.
Values blockProducts(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a, Value row,
                     int64_t count, const Values& accumulators, int64_t least = 2) {
  const auto products = [&](int64_t used) {
    return productsOfUsed(e, task, decoder, a, row, count, accumulators, used);
  };
  if (!task.usedRows || least >= task.m) return products(task.m);
  const Value fewer = e.compare(CmpIPredicate::sle, task.usedRows, e.i64(least));
  return branch(
      e, fewer, [&] { return products(least); },
      [&] { return blockProducts(e, task, decoder, a, row, count, accumulators, 2 * least); });
}

/// Rows of sums of a run of rows of b added to the task's plain accumulator, for the first `used`
/// rows of a.
void emitUsedRows(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a,
                  int64_t used) {
  const int64_t lanes = decoder.lanes(), together = sideBySide(e, task, used);
  const mlir::Type sums = e.type(accumulatorOf(e, decoder.form()), lanes);
  e.loop(0, task.n, together, [&](Value row) {
    Values accumulators(used * together, e.constant(sums, 0));
    accumulators = productsOfUsed(e, task, decoder, a, row, together, accumulators, used);
    const Values totals = sumLanes(e, accumulators);
    for (int64_t m = 0; m < used; ++m)
      for (int64_t r = 0; r < together; ++r) {
        const int64_t index = m * together + r;
        const Value to = e.offset(e.offset(task.accumulator, e.shl(row, 2)), (m * task.n + r) * 4);
        const Value sum = e.extract(totals[index / lanes], index % lanes);
        e.store(e.add(e.load(sum.getType(), to, 4), sum), to, 4);
      }
  });
}

/// The same with code for fewer rows of a where it is known at run time that others are unused.
void emitPlainRows(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a,
                   int64_t least = 2) {
  if (!task.usedRows || least >= task.m) return emitUsedRows(e, task, decoder, a, task.m);
  const Value fewer = e.compare(CmpIPredicate::sle, task.usedRows, e.i64(least));
  branch(
      e, fewer, [&] { return emitUsedRows(e, task, decoder, a, least), Values(); },
      [&] { return emitPlainRows(e, task, decoder, a, 2 * least), Values(); });
}

}  // namespace

bool fewRowsTakes(const DotTask& task, const Decoder& decoder) {
  if (!task.bScale) return true;
  const int64_t group = groupOf(*task.bScale, task.k);
  if (group >= decoder.step()) return true;
  return decoder.laneGroup() > 0 && group >= decoder.laneGroup();
}

Value scalesOutside(Emitter& e, const DotTask& task, Value row, int64_t rows, int low, int high) {
  const DotScale& scale = *task.bScale;
  Value outside;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t group = 0; group < scale.groups; group += 64) {
      const int64_t count = std::min<int64_t>(64, scale.groups - group);
      const Value address = scaleAddress(e, scale, e.add(row, e.i64(r)), task.n, e.i64(group));
      // Volatile, or LLVM takes the scales out of this vector again: lookups by permutation, which
      // are what the products are short of, in place of loads.
      const Value bytes =
          mlir::LLVM::LoadOp::create(e.builder, e.loc, e.type(e.i8(), count), address,
                                     /*alignment=*/1, /*isVolatile=*/true);
      const Value excess = e.sub(bytes, e.integer(bytes.getType(), low));
      const Value bad =
          e.compare(CmpIPredicate::ugt, excess, e.integer(bytes.getType(), high - low));
      const mlir::Type mask = e.builder.getIntegerType(count);
      const Value any = e.compare(
          CmpIPredicate::ne,
          count == 1 ? bad : Value(mlir::LLVM::BitcastOp::create(e.builder, e.loc, mask, bad)),
          e.integer(mask, 0));
      outside = outside ? e.ori(outside, any) : any;
    }
  return outside;
}

void emitFewRows(Emitter& e, const DotTask& task, Decoder& decoder, const DotRows& a) {
  if (task.layout == DotTask::Accumulator::kPlain) return emitPlainRows(e, task, decoder, a);
  const int64_t lanes = decoder.lanes(), together = sideBySide(e, task, task.m);
  const mlir::Type sums = e.type(accumulatorOf(e, decoder.form()), lanes);
  TESSERA_CHECK(sums == e.type(e.f32(), e.target.lanes));
  for (int64_t row = 0; row < task.n; row += together) {
    const auto address = [&](int64_t m, int64_t r) {
      return e.offset(task.accumulator, (m * task.n + row + r) * lanes * 4);
    };
    Values accumulators;
    for (int64_t m = 0; m < task.m; ++m)
      for (int64_t r = 0; r < together; ++r)
        accumulators.push_back(e.load(sums, address(m, r), 4 * lanes));
    accumulators = blockProducts(e, task, decoder, a, e.i64(row), together, accumulators);
    for (int64_t m = 0; m < task.m; ++m)
      for (int64_t r = 0; r < together; ++r)
        e.store(accumulators[m * together + r], address(m, r), 4 * lanes);
  }
}

}  // namespace tessera::compiler::cpu
