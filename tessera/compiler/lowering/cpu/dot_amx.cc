// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/dot_amx.h"

#include <algorithm>
#include <array>

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "tessera/base/check.h"
#include "tessera/compiler/lowering/cpu/dot_plain.h"
#include "tessera/compiler/lowering/cpu/dot_tile.h"

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

// Registers: sums of a block of up to two by two tiles, then activations, then weights.
constexpr int64_t kSums = 4, kActivations = 4, kWeights = 6, kRegisters = 8;
constexpr int64_t kRows = 16;   // of a tile register
constexpr int64_t kPair = 4;    // bytes of two bf16
constexpr int64_t kDepth = 32;  // elements of K of one instruction
// Elements of K decoded at a time: few, so that decoding the next block overlaps with the products
// of this one; more where loading and storing the sums of many columns would count.
constexpr int64_t kFewDecoded = 128, kManyDecoded = 512;
constexpr int64_t kFewColumns = 8;

/// Tiles of a task: rows of weights and columns of activations of one, and how many make a block.
/// An instruction gives its sums after 52 cycles and another may begin after 16 or fewer: where a
/// block is small, several chains of sums along K keep the unit busy.
struct Shape {
  int64_t rows, columns, down, across, chains;

  Shape(int64_t m, int64_t n)
      : rows(std::min(n, kRows)),
        columns(std::min(m, kRows)),
        down(std::min<int64_t>(2, n / rows)),
        across(std::min<int64_t>(2, m / columns)),
        chains(kSums / (down * across)) {}
  explicit Shape(const DotTask& task) : Shape(task.m, task.n) {}
};

Value tileNumber(Emitter& e, int64_t number) { return e.integer(e.i8(), number); }
void loadTile(Emitter& e, int64_t number, Value from, Value stride) {
  e.call("llvm.x86.tileloadd64", {tileNumber(e, number), from, stride});
}
void storeTile(Emitter& e, int64_t number, Value to, Value stride) {
  e.call("llvm.x86.tilestored64", {tileNumber(e, number), to, stride});
}

/// Lane 0 of each row, then lane 1 of each, ..: as many vectors as there are rows, a power of two.
Values interleave(Emitter& e, llvm::ArrayRef<Value> rows) {
  if (rows.size() == 1) return Values(rows);
  Values even, odd;
  for (size_t i = 0; i < rows.size(); i += 2) {
    even.push_back(rows[i]);
    odd.push_back(rows[i + 1]);
  }
  even = interleave(e, even);
  odd = interleave(e, odd);
  const int64_t lanes = Emitter::lanesOf(rows.front());
  Values zipped;
  for (auto [a, b] : llvm::zip_equal(even, odd))
    for (int64_t first : {int64_t{0}, lanes / 2}) {
      llvm::SmallVector<int64_t> mask;
      for (int64_t i = 0; i < lanes / 2; ++i) {
        mask.push_back(first + i);
        mask.push_back(lanes + first + i);
      }
      zipped.push_back(e.shuffle(a, b, mask));
    }
  return zipped;
}

/// Columns whose sums are wanted; null: all.
Value usedColumns(Emitter& e, const DotTask& task) {
  return task.usedRows ? e.minSigned(task.usedRows, e.i64(task.m)) : Value();
}

/// Bytes of the activations of one column of tiles over k elements.
int64_t columnBytes(const Shape& shape, int64_t k) { return k / 2 * shape.columns * kPair; }

/// Columns worked on: whole blocks of tiles that hold those wanted, at least one.
Value columnsInBlocks(Emitter& e, const DotTask& task) {
  const Value used = usedColumns(e, task);
  if (!used) return e.i64(task.m);
  const Shape shape(task);
  const int64_t step = shape.columns * shape.across;
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
  const Shape shape(task);
  return keptOrMade(e, task, task.m * task.k * 2, [&](Value to) {
    const DotRows rows = formRows(e, task, decoder);
    const auto packColumns = [&](Value column, mlir::ValueRange) {
      const Value group = e.offset(to, e.mul(column, e.i64(task.k * 2)));
      e.loop(0, task.k / kDepth, 1, [&](Value step) {
        Values lines;
        for (int64_t i = 0; i < shape.columns; ++i)
          lines.push_back(e.load(e.type(e.i32(), kRows),
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
  if (task.n > kRows) return e.loop(0, task.n, 1, prefetchRow);
  for (int64_t row = 0; row < task.n; ++row) prefetchRow(e.i64(row));
}

/// The products of a task, block of K by block.
class TileProducts {
 public:
  TileProducts(Emitter& e, const DotTask& task) : e_(e), task_(task), shape_(task) {}

  /// Whether all sums are in registers at once: they stay there from begin() to end().
  bool isOneBlock() const {
    return task_.n == shape_.rows * shape_.down && task_.m == shape_.columns * shape_.across;
  }
  void begin() {
    eachSum(e_.i64(0), e_.i64(0), [&](auto... sum) { loadTile(e_, sum...); });
  }
  void end() {
    eachSum(e_.i64(0), e_.i64(0), [&](auto... sum) { storeTile(e_, sum...); });
  }

  /// `weights`: [N] rows of `depth` decoded elements. `activations`: of the whole task, `first`
  /// elements of K before the block.
  void add(const DotRows& weights, Value activations, Value first, int64_t depth) {
    const Value from = e_.offset(activations, e_.mul(first, e_.i64(2 * shape_.columns)));
    if (isOneBlock()) return block(weights, from, e_.i64(0), e_.i64(0), depth);
    const Value used = usedColumns(e_, task_);
    const auto tiles = [&](Value row, Value column) {
      eachSum(row, column, [&](auto... sum) { loadTile(e_, sum...); });
      block(weights, from, row, column, depth);
      eachSum(row, column, [&](auto... sum) { storeTile(e_, sum...); });
    };
    e_.loop(0, task_.n, shape_.rows * shape_.down, [&](Value row) {
      const int64_t step = shape_.columns * shape_.across;
      if (!used || step == task_.m)
        return e_.loop(0, task_.m, step, [&](Value column) { tiles(row, column); });
      e_.loop(e_.i64(0), used, e_.i64(step), {}, [&](Value column, mlir::ValueRange) {
        tiles(row, column);
        return Values();
      });
    });
  }

 private:
  void block(const DotRows& weights, Value activations, Value row, Value column, int64_t depth) {
    Values lines, groups;
    for (int64_t i = 0; i < shape_.down; ++i)
      lines.push_back(weights.row(e_, e_.add(row, e_.i64(i * shape_.rows))));
    for (int64_t j = 0; j < shape_.across; ++j)
      groups.push_back(e_.offset(e_.offset(activations, e_.mul(column, e_.i64(task_.k * 2))),
                                 j * columnBytes(shape_, task_.k)));
    for (int64_t k = 0; k < depth; k += kDepth) {
      for (int64_t j = 0; j < shape_.across; ++j)
        loadTile(e_, kActivations + j, e_.offset(groups[j], columnBytes(shape_, k)),
                 e_.i64(kPair * shape_.columns));
      for (int64_t i = 0; i < shape_.down; ++i)
        loadTile(e_, kWeights + i, e_.offset(lines[i], 2 * k), weights.stride);
      for (int64_t i = 0; i < shape_.down; ++i)
        for (int64_t j = 0; j < shape_.across; ++j)
          e_.call("llvm.x86.tdpbf16ps",
                  {tileNumber(e_, sumNumber(k / kDepth % shape_.chains, i, j)),
                   tileNumber(e_, kWeights + i), tileNumber(e_, kActivations + j)});
    }
  }

  int64_t sumNumber(int64_t chain, int64_t i, int64_t j) const {
    return (chain * shape_.down + i) * shape_.across + j;
  }
  /// visit(register, address, stride) of the sums of a block.
  void eachSum(Value row, Value column, llvm::function_ref<void(int64_t, Value, Value)> visit) {
    const Value element = e_.add(e_.mul(row, e_.i64(task_.m)), column);
    const Value first = e_.offset(task_.accumulator, e_.shl(element, 2));
    for (int64_t chain = 0; chain < shape_.chains; ++chain)
      for (int64_t i = 0; i < shape_.down; ++i)
        for (int64_t j = 0; j < shape_.across; ++j) {
          const int64_t line = (chain * task_.n + i * shape_.rows) * task_.m;
          visit(sumNumber(chain, i, j), e_.offset(first, 4 * (line + j * shape_.columns)),
                e_.i64(4 * task_.m));
        }
  }

  Emitter& e_;
  const DotTask& task_;
  const Shape shape_;
};

}  // namespace

bool suitsTiles(const CpuTarget& target, const DotTask& task) {
  if (!target.hasAmxBf16 || !target.hasBf16Dot || !target.hasVbmi || target.lanes != 16)
    return false;
  if (task.bIsKn || task.m < 2 || task.n < 8) return false;
  if (task.a.dtype != DType::bf16 && task.a.dtype != DType::f8e4m3) return false;
  if (!canPack(task.aScale, task.k, target.lanes)) return false;
  const int64_t group = task.bScale ? groupOf(*task.bScale, task.k) : task.k;
  switch (task.b.dtype) {
    case DType::bf16: return !task.bScale && task.k % kDepth == 0;
    case DType::f8e4m3: return task.k % 64 == 0 && group % 64 == 0;
    case DType::f4e2m1:
      return task.k % 128 == 0 &&
             (!task.bScale || (group == 32 && task.bScale->dtype == DType::f8e8m0));
    default: return false;
  }
}

bool configureTiles(Emitter& e, const DotTask& task) {
  const Shape shape(task.m, task.n);
  std::array<char, 64> config = {1};  // palette
  for (int64_t i = 0; i < kRegisters; ++i) {
    const int64_t bytes = i < kWeights ? kPair * shape.columns : 64;
    const int64_t rows = i < kSums || i >= kWeights ? shape.rows : kRows;
    config[16 + 2 * i] = static_cast<char>(bytes);
    config[48 + i] = static_cast<char>(rows);
  }
  return e.configureTiles(config);
}

void emitTiles(Emitter& e, DotTask& task, Decoder& decoder) {
  TESSERA_CHECK(decoder.form() == DotForm::kBf16 && task.k % decoder.step() == 0);
  const bool ready = isReady(task, task.b, task.bScale.has_value(), decoder);
  const int64_t depth = std::min(task.k, task.m <= kFewColumns ? kFewDecoded : kManyDecoded);
  const auto fast = [&] {
    const Value activations = packActivations(e, task, decoder);
    const DotRows scratch = ready ? DotRows{} : scratchRows(e, DotForm::kBf16, task.n, depth);
    TileProducts products(e, task);
    if (products.isOneBlock()) products.begin();
    e.loop(0, task.k, depth, [&](Value first) {
      if (task.b.inView) prefetchWeights(e, task, first, depth);
      const DotRows weights = prepareB(e, task, decoder, first, depth, scratch);
      products.add(weights, activations, first, depth);
    });
    if (products.isOneBlock()) products.end();
  };
  whereFoldIsExact(e, task, decoder, fast, [&] {
    if (task.reuse) task.reuse->load(task);
    emitElements(e, task, nullptr, nullptr);
  });
}

int64_t transposedCopies(int64_t m, int64_t n) { return Shape(m, n).chains; }

void transposeSums(Emitter& e, Value from, Value to, int64_t m, int64_t n) {
  const Shape shape(m, n);
  const int64_t rows = shape.rows, columns = shape.columns;
  const int64_t run = std::min(rows, columns);
  e.loop(0, n, rows, [&](Value row) {
    e.loop(0, m, columns, [&](Value column) {
      const Value source = e.offset(from, e.shl(e.add(e.mul(row, e.i64(m)), column), 2));
      const Value target = e.offset(to, e.shl(e.add(e.mul(column, e.i64(n)), row), 2));
      Values lines;
      for (int64_t i = 0; i < rows; ++i) {
        Values chains;
        for (int64_t chain = 0; chain < shape.chains; ++chain)
          chains.push_back(
              e.load(e.type(e.f32(), columns), e.offset(source, 4 * m * (chain * n + i)), 4));
        for (; chains.size() > 1; chains.truncate(chains.size() / 2))
          for (size_t c = 0; c < chains.size() / 2; ++c)
            chains[c] = e.add(chains[2 * c], chains[2 * c + 1]);
        lines.push_back(chains.front());
      }
      const Values turned = interleave(e, lines);  // row after row of the result
      for (int64_t at = 0; at < rows * columns; at += run)
        e.store(e.slice(turned[at / columns], at % columns, run),
                e.offset(target, 4 * (at / rows * n + at % rows)), 4);
    });
  });
}

}  // namespace tessera::compiler::cpu
