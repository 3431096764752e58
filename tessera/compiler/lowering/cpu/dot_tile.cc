// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_tile.h"

#include <algorithm>

#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/dot_rows.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

struct RegisterTile {
  int64_t m, n;
};

/// As many accumulators as leave room for a row of operands: 16 or 8 independent sums, enough to
/// hide the latency of two multiply-adds a cycle.
RegisterTile registerTile(const Emitter& e, int64_t m, int64_t n) {
  const RegisterTile best = e.target.registers >= 32 ? RegisterTile{4, 4} : RegisterTile{2, 4};
  RegisterTile tile = {std::min(best.m, m), std::min(best.n, n)};
  if (tile.n < best.n) tile.m = std::min(m, best.m * best.n / tile.n);
  if (tile.m < best.m) tile.n = std::min(n, best.m * best.n / tile.m);
  return tile;
}

/// Adds the totals of accumulators [tile.m][tile.n] to the rows at `to`, `stride` bytes apart.
void addTotals(Emitter& e, const RegisterTile& tile, llvm::ArrayRef<Value> accumulators, Value to,
               int64_t stride) {
  const int64_t lanes = Emitter::lanesOf(accumulators.front());
  const Values totals = sumLanes(e, accumulators);
  const int64_t run = std::min(tile.n, lanes);
  for (int64_t i = 0; i < tile.m * tile.n; i += run) {
    const Value sums = e.slice(totals[i / lanes], i % lanes, run);
    const Value address = e.offset(to, i / tile.n * stride + i % tile.n * 4);
    e.store(e.add(e.load(sums.getType(), address, 4), sums), address, 4);
  }
}

/// Part `index` of `parts` equal ones.
void prefetchPart(Emitter& e, const DotAhead& ahead, Value index, int64_t parts) {
  const int64_t lines = std::max<int64_t>(1, ahead.bytes / 64);
  const int64_t each = std::max<int64_t>(1, ahead.count * lines / parts);
  const int64_t inRow = std::min(each, lines);
  const Value first = e.mul(index, e.i64(each));
  for (int64_t done = 0; done < each; done += inRow) {
    const Value line = e.add(first, e.i64(done));
    const Value row = ahead.rows.row(e, divide(e, line, lines));
    const Value from = e.offset(row, e.shl(e.andi(line, lines - 1), 6));
    for (int64_t i = 0; i < inRow; ++i) e.prefetch(e.offset(from, 64 * i), 2);
  }
}

}  // namespace

void emitTile(Emitter& e, DotForm form, int64_t lanes, int64_t m, int64_t n, int64_t k,
              const DotRows& a, const DotRows& b, Value accumulator, Value usedRows,
              llvm::ArrayRef<DotAhead> ahead) {
  const RegisterTile tile = registerTile(e, m, n);
  const int64_t width = widthOf(form, lanes), vectorBytes = width * bytesOf(form);
  TESSERA_CHECK(k % width == 0);
  const int64_t unroll = k % (2 * width) == 0 ? 2 : 1;
  const mlir::Type vector = e.type(elementOf(e, form), width);
  const mlir::Type sums = e.type(accumulatorOf(e, form), lanes);
  const auto tileAt = [&](Value row, Value column) {
    Values aRows, bRows;
    for (int64_t i = 0; i < tile.m; ++i) aRows.push_back(a.row(e, e.add(row, e.i64(i))));
    for (int64_t i = 0; i < tile.n; ++i) bRows.push_back(b.row(e, e.add(column, e.i64(i))));
    const int64_t perColumn = m / tile.m;
    const Value index =
        e.add(divide(e, e.mul(column, e.i64(perColumn)), tile.n), divide(e, row, tile.m));
    for (const DotAhead& next : ahead) prefetchPart(e, next, index, perColumn * n / tile.n);
    const Values zeros(tile.m * tile.n, e.constant(sums, 0));
    const auto body = [&](Value first, mlir::ValueRange carried) {
      Values values(carried);
      const Value bytes = e.mul(first, e.i64(bytesOf(form)));
      for (int64_t u = 0; u < unroll; ++u) {
        const auto loadRow = [&](Value row) {
          return e.load(vector, e.offset(e.offset(row, bytes), u * vectorBytes));
        };
        Values y;
        for (Value row : bRows) y.push_back(loadRow(row));
        for (int64_t i = 0; i < tile.m; ++i) {
          const Value x = loadRow(aRows[i]);
          for (int64_t j = 0; j < tile.n; ++j) {
            Value& sum = values[i * tile.n + j];
            sum = multiplyAdd(e, form, sum, x, y[j]);
          }
        }
      }
      return values;
    };
    const Values totals = e.loop(e.i64(0), e.i64(k), e.i64(unroll * width), zeros, body);
    const Value to = e.offset(accumulator, e.shl(e.add(e.mul(row, e.i64(n)), column), 2));
    addTotals(e, tile, totals, to, 4 * n);
  };
  const Value rows = usedRows ? e.minSigned(usedRows, e.i64(m)) : e.i64(m);
  e.loop(0, n, tile.n, [&](Value column) {
    e.loop(e.i64(0), rows, e.i64(tile.m), {}, [&](Value row, mlir::ValueRange) {
      tileAt(row, column);
      return Values();
    });
  });
}

bool canPrepareB(const DotTask& task, const Decoder& decoder) {
  if (!task.bScale) return true;
  const int64_t group = groupOf(*task.bScale, task.k);
  if (decoder.form() == DotForm::kBf16) {
    if (decoder.dtype() == DType::bf16) return false;
    return decoder.folds(group) &&
           (decoder.dtype() == DType::f4e2m1 ? task.bScale->dtype == DType::f8e8m0 : true);
  }
  return group >= decoder.step() || (decoder.laneGroup() > 0 && group % decoder.laneGroup() == 0);
}

namespace {

/// i1: scales are outside of what prepareB() folds exactly; null when it is exact for all.
Value foldIsInexact(Emitter& e, const DotTask& task, const Decoder& decoder) {
  if (!task.bScale || decoder.form() != DotForm::kBf16) return {};
  const DotScale& scale = *task.bScale;
  const int low = decoder.foldLow(), high = decoder.foldHigh();
  if (scale.dtype == DType::f32) {
    const Value init = e.integer(e.i1(), 0);
    const auto row = [&](Value r, Value any) {
      return e.loop(e.i64(0), e.i64(scale.groups), e.i64(1), {any},
                    [&](Value g, mlir::ValueRange carried) -> Values {
                      const Value at = scaleAddress(e, scale, r, scale.rows, g);
                      const Value exponent = e.shr(e.load(e.i32(), at), 23);
                      const Value bad = e.compare(mlir::arith::CmpIPredicate::ugt,
                                                  e.sub(exponent, e.i32(low)), e.i32(high - low));
                      return {e.ori(carried[0], bad)};
                    })[0];
    };
    return e.loop(
        e.i64(0), e.i64(scale.rows), e.i64(1), {init},
        [&](Value r, mlir::ValueRange carried) -> Values { return {row(r, carried[0])}; })[0];
  }
  DotTask perRow = task;  // one row of scales counts as one row of b
  perRow.n = scale.rows;
  return e.loop(e.i64(0), e.i64(scale.rows), e.i64(1), {e.integer(e.i1(), 0)},
                [&](Value r, mlir::ValueRange carried) -> Values {
                  return {e.ori(carried[0], scalesOutside(e, perRow, r, 1, low, high))};
                })[0];
}

}  // namespace

void whereFoldIsExact(Emitter& e, const DotTask& task, const Decoder& decoder,
                      llvm::function_ref<void()> fast, llvm::function_ref<void()> slow) {
  const Value inexact = foldIsInexact(e, task, decoder);
  if (!inexact) return fast();
  const auto without = [](llvm::function_ref<void()> emit) {
    return [emit] {
      emit();
      return Values();
    };
  };
  branch(e, inexact, without(slow), without(fast));
}

namespace {

constexpr int64_t kUnrolledSteps = 16;  // of decoding

/// Writes rows of b into scratch, element [row][0] of scratch being element [row][first].
class BDecoder {
 public:
  BDecoder(Emitter& e, const DotTask& task, Decoder& decoder, Value first, const DotRows& to)
      : e_(e), task_(task), decoder_(decoder), first_(first), to_(to) {}

  void all(int64_t k) {
    if (task_.bScale && decoder_.form() == DotForm::kBf16 && task_.b.dtype == DType::f8e4m3)
      return fp8(k);
    const auto step = [&](Value row, Value at) { write(row, at, values(row, at)); };
    if (task_.n * k / decoder_.step() <= kUnrolledSteps) {
      for (int64_t row = 0; row < task_.n; ++row)
        for (int64_t at = 0; at < k; at += decoder_.step()) step(e_.i64(row), e_.i64(at));
      return;
    }
    e_.loop(0, task_.n, 1,
            [&](Value row) { e_.loop(0, k, decoder_.step(), [&](Value at) { step(row, at); }); });
  }

 private:
  Value source(Value row, Value at) {
    const Value line = e_.offset(task_.b.pointer, e_.mul(row, task_.b.rowStride));
    const Value element = e_.add(at, first_);
    const int width = bits(task_.b.dtype);
    return e_.offset(line, width < 8 ? e_.shr(element, 1) : e_.mul(element, e_.i64(width / 8)));
  }
  Value scaleAt(Value row, Value at) {
    const int64_t group = groupOf(*task_.bScale, task_.k);
    return scaleAddress(e_, *task_.bScale, row, task_.n, divide(e_, e_.add(at, first_), group));
  }
  void write(Value row, Value at, const Values& vectors) {
    const Value to = e_.offset(to_.row(e_, row), e_.mul(at, e_.i64(bytesOf(decoder_.form()))));
    const int64_t bytes = decoder_.width() * bytesOf(decoder_.form());
    for (size_t i = 0; i < vectors.size(); ++i) e_.store(vectors[i], e_.offset(to, i * bytes));
  }
  Value spreadScales(Value row, Value at) {
    const int64_t lanes = decoder_.lanes(), group = groupOf(*task_.bScale, task_.k);
    const Value address = scaleAt(row, at);
    if (group >= decoder_.step())
      return e_.splat(loadScale(e_, task_.bScale->dtype, address), lanes);
    const int64_t groups = decoder_.step() / group;
    llvm::SmallVector<int64_t> spread;
    for (int64_t lane = 0; lane < lanes; ++lane)
      spread.push_back(lane * decoder_.laneGroup() / group);
    if (task_.bScale->dtype == DType::f32)
      return e_.shuffle(e_.load(e_.type(e_.f32(), groups), address), Value(), spread);
    const Value bytes = e_.load(e_.type(e_.i8(), groups), address);
    return scaleOfBytes(e_, e_.shuffle(e_.zeroExtend(bytes, e_.i32()), Value(), spread));
  }
  Values values(Value row, Value at) {
    const Value from = source(row, at);
    if (!task_.bScale) return decoder_.decode(from);
    if (decoder_.form() == DotForm::kBf16)
      return decoder_.decodeFp4Folded(
          from, e_.load(e_.type(e_.i8(), decoder_.step() / 32), scaleAt(row, at)));
    const Value scale = spreadScales(row, at);
    Values scaled;
    for (Value v : decoder_.decode(from)) scaled.push_back(e_.mul(v, scale));
    return scaled;
  }
  /// Tables carry the scale: one set for a block of rows and a group of k.
  void fp8(int64_t k) {
    const DotScale& scale = *task_.bScale;
    const int64_t rows = task_.n / scale.rows;
    const int64_t group = std::min(groupOf(scale, task_.k), k);
    e_.loop(0, scale.rows, 1, [&](Value block) {
      e_.loop(0, k, group, [&](Value at) {
        const Value firstRow = e_.mul(block, e_.i64(rows));
        const Value address = scaleAt(firstRow, at);
        const Value exponent = scale.dtype == DType::f32
                                   ? e_.truncate(e_.shr(e_.load(e_.i32(), address), 23), e_.i16())
                                   : e_.zeroExtend(e_.load(e_.i8(), address), e_.i16());
        const Fp8Tables tables = decoder_.fp8Tables(exponent);
        e_.loop(0, rows, 1, [&](Value r) {
          const Value row = e_.add(firstRow, r);
          e_.loop(0, group, decoder_.step(), [&](Value inner) {
            const Value element = e_.add(at, inner);
            write(row, element, decoder_.decodeFp8(source(row, element), tables));
          });
        });
      });
    });
  }

  Emitter& e_;
  const DotTask& task_;
  Decoder& decoder_;
  Value first_;
  const DotRows& to_;
};

}  // namespace

DotRows prepareB(Emitter& e, const DotTask& task, Decoder& decoder, Value first, int64_t k,
                 const DotRows& scratch) {
  if (isReady(task, task.b, task.bScale.has_value(), decoder))
    return {e.offset(task.b.pointer, e.mul(first, e.i64(size_in_bytes(task.b.dtype, 1)))),
            task.b.rowStride};
  BDecoder(e, task, decoder, first, scratch).all(k);
  return scratch;
}

}  // namespace tessera::compiler::cpu
