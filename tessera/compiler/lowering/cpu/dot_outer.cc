// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_outer.h"

#include <algorithm>

#include "tessera/compiler/lowering/cpu/dot_ops.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

class Outer {
 public:
  Outer(Emitter& e, const DotTask& task) : e_(e), task_(task) {
    lanes_ = std::min<int64_t>(e.target.lanes, task.n);
    pairs_ = task.a.dtype == DType::bf16 && e.target.hasBf16Dot && lanes_ >= 4 && task.k % 2 == 0;
    sums_ = e.type(task.a.dtype == DType::i8 ? e.i32() : e.f32(), lanes_);
    const int64_t accumulators = e.target.registers / 2;
    // Interleaving two rows of b costs more than broadcasting, so it is shared by more rows of a.
    columns_ = std::min(task.n / lanes_, pairs_ ? int64_t{2} : accumulators / 4);
    rows_ = std::min(task.m, accumulators / columns_);
  }

  void run() {
    e_.loop(0, task_.n, columns_ * lanes_, [&](Value column) {
      e_.loop(0, task_.m, rows_, [&](Value row) { tile(row, column); });
    });
  }

 private:
  int64_t step() const { return pairs_ ? 2 : 1; }
  int64_t elementBytes() const { return size_in_bytes(task_.a.dtype, 1); }

  void tile(Value row, Value column) {
    Values a, sums, addresses;
    for (int64_t i = 0; i < rows_; ++i) {
      const Value r = e_.add(row, e_.i64(i));
      a.push_back(e_.offset(task_.a.pointer, e_.mul(r, task_.a.rowStride)));
      const Value line = e_.add(e_.mul(r, e_.i64(task_.n)), column);
      const Value to = e_.offset(task_.accumulator, e_.shl(line, 2));
      for (int64_t j = 0; j < columns_; ++j) {
        addresses.push_back(e_.offset(to, j * lanes_ * 4));
        sums.push_back(e_.load(sums_, addresses.back(), 4));
      }
    }
    const Value b = e_.offset(task_.b.pointer, e_.mul(column, e_.i64(elementBytes())));
    const int64_t unroll = std::min<int64_t>(task_.k / step(), 2);
    const auto body = [&](Value first, mlir::ValueRange carried) {
      Values values(carried);
      for (int64_t u = 0; u < unroll; ++u) {
        const Value k = e_.add(first, e_.i64(u * step()));
        Values y;
        for (int64_t j = 0; j < columns_; ++j) y.push_back(columnsOf(b, k, j));
        for (int64_t i = 0; i < rows_; ++i) {
          const Value x = broadcast(e_.offset(a[i], e_.mul(k, e_.i64(elementBytes()))));
          for (int64_t j = 0; j < columns_; ++j) {
            Value& sum = values[i * columns_ + j];
            sum = product(sum, x, y[j]);
          }
        }
      }
      return values;
    };
    const Values totals = e_.loop(e_.i64(0), e_.i64(task_.k), e_.i64(unroll * step()), sums, body);
    for (size_t i = 0; i < totals.size(); ++i) e_.store(totals[i], addresses[i], 4);
  }

  Value product(Value sum, Value x, Value y) {
    if (pairs_) return multiplyAdd(e_, DotForm::kBf16, sum, x, y);
    if (task_.a.dtype == DType::i8) return e_.add(sum, e_.mul(x, y));
    return e_.fma(x, y, sum);
  }

  /// Lanes of row k (and k + 1) of b.
  Value columnsOf(Value b, Value k, int64_t j) {
    const Value row =
        e_.offset(e_.offset(b, e_.mul(k, task_.b.rowStride)), j * lanes_ * elementBytes());
    if (!pairs_) return widen(row, lanes_);
    const mlir::Type half = e_.type(e_.i16(), lanes_);
    llvm::SmallVector<int64_t> mask;
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      mask.push_back(lane);
      mask.push_back(lanes_ + lane);
    }
    return e_.shuffle(e_.load(half, row), e_.load(half, e_.offset(row, task_.b.rowStride)), mask);
  }

  Value broadcast(Value from) {
    if (!pairs_) return e_.splat(widen(from, 1), lanes_);
    return e_.bitcast(e_.splat(e_.load(e_.i32(), from), lanes_), e_.i16());
  }

  /// Stored elements as f32 or i32.
  Value widen(Value from, int64_t lanes) {
    switch (task_.a.dtype) {
      case DType::i8: return e_.signExtend(e_.load(e_.type(e_.i8(), lanes), from), e_.i32());
      case DType::bf16: {
        const Value bits = e_.zeroExtend(e_.load(e_.type(e_.i16(), lanes), from), e_.i32());
        return e_.bitcast(e_.shl(bits, 16), e_.f32());
      }
      default: return e_.load(e_.type(e_.f32(), lanes), from);
    }
  }

  Emitter& e_;
  const DotTask& task_;
  int64_t lanes_, columns_, rows_;
  bool pairs_;
  mlir::Type sums_;
};

}  // namespace

void emitOuter(Emitter& e, const DotTask& task) { Outer(e, task).run(); }

}  // namespace tessera::compiler::cpu
