// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_amx.h"

#include <algorithm>

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/dot_plain.h"
#include "tessera/compiler/lowering/cpu/dot_tile.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

// Elements of K decoded at a time: few, so that decoding the next block overlaps with the products
// of this one; more where loading and storing the sums of many columns would count.
constexpr int64_t kFewDecoded = 128, kManyDecoded = 512;
constexpr int64_t kFewColumns = 16;

TileShape shapeOf(const DotTask& task) { return {task.n, task.m}; }

/// Columns whose sums are wanted; null: all.
Value usedColumns(Emitter& e, const DotTask& task) {
  return task.usedRows ? e.minSigned(task.usedRows, e.i64(task.m)) : Value();
}

/// Columns worked on: whole blocks of tiles that hold those wanted, at least one.
Value columnsInBlocks(Emitter& e, const DotTask& task) {
  const Value used = usedColumns(e, task);
  if (!used) return e.i64(task.m);
  const int64_t step = shapeOf(task).step();
  return e.andi(e.add(e.maxSigned(used, e.i64(1)), e.i64(step - 1)), -step);
}

/// Rows of activations in the form of products, those past the wanted ones zero: sums of theirs
/// are.
DotRows formRows(Emitter& e, const DotTask& task, const Decoder& decoder) {
  const DotRows rows = scratchRows(e, DotForm::kBf16, task.m, task.k);
  const Value used = usedColumns(e, task);
  packRows(e, decoder, task.a, task.aScale, task.m, task.k, rows, used);
  if (!used) return rows;
  const Value first = e.maxSigned(used, e.i64(0)), last = columnsInBlocks(e, task);
  e.loop(first, last, e.i64(1), {}, [&](Value row, mlir::ValueRange) {
    mlir::LLVM::MemsetOp::create(e.builder, e.loc, rows.row(e, row), e.integer(e.i8(), 0),
                                 e.i64(2 * task.k), /*isVolatile=*/false);
    return Values();
  });
  return rows;
}

/// Rows of activations as tiles: [column of tiles][depth][16 pairs][column], 64-byte aligned.
Value packActivations(Emitter& e, DotTask& task, const Decoder& decoder) {
  const TileShape shape = shapeOf(task);
  return keptOrMade(e, task, task.m * task.k * 2, [&](Value to) {
    const DotRows rows = formRows(e, task, decoder);
    const auto packColumns = [&](Value column, mlir::ValueRange) {
      const Value group = e.offset(to, e.mul(column, e.i64(task.k * 2)));
      e.loop(0, task.k / TileShape::kDepth, 1, [&](Value step) {
        Values lines;
        for (int64_t i = 0; i < shape.columns; ++i)
          lines.push_back(e.load(e.type(e.i32(), TileShape::kMost),
                                 e.offset(rows.row(e, e.add(column, e.i64(i))), e.shl(step, 6))));
        const Value tile = e.offset(group, e.mul(step, e.i64(64 * shape.columns)));
        for (auto [i, line] : llvm::enumerate(interleave(e, lines)))
          e.store(line, e.offset(tile, 64 * static_cast<int64_t>(i)), 64);
      });
      return Values();
    };
    e.loop(e.i64(0), columnsInBlocks(e, task), e.i64(shape.columns), {}, packColumns);
  });
}

/// Asks for the weights that will be wanted next: with few columns the same part of the rows that
/// follow, which a program takes one after the other; with many what follows in these rows.
void prefetchWeights(Emitter& e, const DotTask& task, Value first, int64_t depth) {
  const int64_t bytes = size_in_bytes(task.b.dtype, depth);
  const int width = bits(task.b.dtype);
  const Value at = width < 8 ? e.shr(first, 1) : e.mul(first, e.i64(width / 8));
  const bool few = task.m <= kFewColumns;
  const Value ahead = few ? e.mul(task.b.rowStride, e.i64(task.n)) : e.i64(bytes);
  const DotRows rows = {e.offset(e.offset(task.b.pointer, at), ahead), task.b.rowStride};
  const auto prefetchRow = [&](Value row) {
    for (int64_t line = 0; line < bytes; line += 64)
      e.prefetch(e.offset(rows.row(e, row), line), /*locality=*/2);
  };
  if (task.n > TileShape::kMost) return e.loop(0, task.n, 1, prefetchRow);
  for (int64_t row = 0; row < task.n; ++row) prefetchRow(e.i64(row));
}

/// Columns of operand b [K, N] as tiles: [column of tiles][depth][16 pairs][column].
Value packColumns(Emitter& e, const DotTask& task, const TileShape& shape) {
  const Value to = e.scratch(task.n * task.k * 2);
  const int64_t lanes = shape.step();  // two columns of tiles at a time where there are two
  llvm::SmallVector<int64_t> zip;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    zip.push_back(lane);
    zip.push_back(lanes + lane);
  }
  e.loop(0, task.n, lanes, [&](Value column) {
    const Value from = e.offset(task.b.pointer, e.shl(column, 1));
    const Value group = e.offset(to, e.mul(column, e.i64(task.k * 2)));
    e.loop(0, task.k, 2, [&](Value k) {
      const Value row = e.offset(from, e.mul(k, task.b.rowStride));
      const mlir::Type half = e.type(e.i16(), lanes);
      const Value pairs =
          e.shuffle(e.load(half, row), e.load(half, e.offset(row, task.b.rowStride)), zip);
      const Value line = e.offset(group, e.mul(k, e.i64(shape.columnBytes(1))));
      for (int64_t j = 0; j < shape.across; ++j)
        e.store(e.slice(pairs, 2 * shape.columns * j, 2 * shape.columns),
                e.offset(line, shape.columnBytes(task.k) * j));
    });
  });
  return to;
}

/// Sums [M, N] where they lie: rows of operand a are those of the tiles.
void emitStraight(Emitter& e, const DotTask& task) {
  const TileShape shape = TileShape(task.m, task.n).oneChain();
  const Value columns = packColumns(e, task, shape);
  TileProducts products(e, shape, {task.accumulator, task.m, task.n}, task.k);
  if (products.isOneBlock()) products.begin();
  products.add({task.a.pointer, task.a.rowStride}, columns, e.i64(0), task.k);
  if (products.isOneBlock()) products.end();
}

bool hasTiles(const CpuTarget& target) {
  return target.hasAmxBf16 && target.hasBf16Dot && target.hasVbmi && target.lanes == 16;
}

}  // namespace

bool suitsTiles(const CpuTarget& target, const DotTask& task) {
  if (!hasTiles(target) || task.bIsKn || task.m < 2 || task.n < 8) return false;
  if (task.a.dtype != DType::bf16 && task.a.dtype != DType::f8e4m3) return false;
  if (!canPack(task.aScale, task.k, target.lanes)) return false;
  const int64_t group = task.bScale ? groupOf(*task.bScale, task.k) : task.k;
  switch (task.b.dtype) {
    case DType::bf16: return !task.bScale && task.k % TileShape::kDepth == 0;
    case DType::f8e4m3: return task.k % 64 == 0 && group % 64 == 0;
    case DType::f4e2m1:
      return task.k % 128 == 0 &&
             (!task.bScale || (group == 32 && task.bScale->dtype == DType::f8e8m0));
    default: return false;
  }
}

bool configureTiles(Emitter& e, const DotTask& task) { return configureTiles(e, shapeOf(task)); }

void emitTiles(Emitter& e, DotTask& task, Decoder& decoder) {
  TESSERA_CHECK(decoder.form() == DotForm::kBf16 && task.k % decoder.step() == 0);
  // In scratch memory, rows do not meet in the caches as those of a matrix do.
  const bool inPlace = task.b.dtype == DType::bf16 && !task.b.inView;
  const bool ready = inPlace || isReady(task, task.b, task.bScale.has_value(), decoder);
  const int64_t depth = std::min(task.k, task.m <= kFewColumns ? kFewDecoded : kManyDecoded);
  const auto fast = [&] {
    const Value activations = packActivations(e, task, decoder);
    const DotRows scratch = ready ? DotRows{} : scratchRows(e, DotForm::kBf16, task.n, depth);
    TileProducts products(e, shapeOf(task), {task.accumulator, task.n, task.m}, task.k,
                          usedColumns(e, task));
    if (products.isOneBlock()) products.begin();
    e.loop(0, task.k, depth, [&](Value first) {
      if (task.b.inView) prefetchWeights(e, task, first, depth);
      const DotRows weights =
          inPlace ? DotRows{e.offset(task.b.pointer, e.shl(first, 1)), task.b.rowStride}
                  : prepareB(e, task, decoder, first, depth, scratch);
      products.add(weights, activations, first, depth);
    });
    if (products.isOneBlock()) products.end();
  };
  whereFoldIsExact(e, task, decoder, fast, [&] {
    if (task.reuse) task.reuse->load(task);
    emitElements(e, task, nullptr, nullptr);
  });
}

int64_t transposedCopies(int64_t m, int64_t n) { return TileShape(n, m).chains; }

bool emitPlainTiles(Emitter& e, const DotTask& original) {
  constexpr int64_t kLeastSums = 256;
  if (original.layout != DotTask::Accumulator::kPlain || original.m * original.n < kLeastSums)
    return false;
  DotTask task = original;
  if (task.bIsKn) {
    const bool suits = hasTiles(e.target) && task.a.dtype == DType::bf16 &&
                       task.b.dtype == DType::bf16 && task.m >= 8 && task.n >= 16 &&
                       task.k % TileShape::kDepth == 0;
    if (!suits || !configureTiles(e, TileShape(task.m, task.n))) return false;
    if (task.reuse) task.reuse->load(task);
    emitStraight(e, task);
    return true;
  }
  if (!suitsTiles(e.target, task) || !configureTiles(e, task)) return false;
  const int64_t bytes = 4 * task.m * task.n * transposedCopies(task.m, task.n);
  task.accumulator = e.scratch(bytes);
  task.layout = DotTask::Accumulator::kTransposed;
  mlir::LLVM::MemsetOp::create(e.builder, e.loc, task.accumulator, e.integer(e.i8(), 0),
                               e.i64(bytes), /*isVolatile=*/false);
  Decoder decoder(e, task.b.dtype, DotForm::kBf16, e.target.lanes);
  const TileSums sums = {task.accumulator, task.n, task.m};
  emitTiles(e, task, decoder);
  transposeSums(e, sums, original.accumulator, /*adds=*/true);
  return true;
}

}  // namespace tessera::compiler::cpu
