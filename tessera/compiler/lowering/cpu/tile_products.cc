// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/tile_products.h"

#include <array>

namespace tessera::compiler::cpu {
namespace {

using mlir::Value;

// Registers: sums of a block of up to two by two tiles, then columns, then rows.
constexpr int64_t kColumns = 4, kRows = 6, kRegisters = 8;
constexpr int64_t kPair = 4;  // bytes of two bf16

Value tileNumber(Emitter& e, int64_t number) { return e.integer(e.i8(), number); }
void loadTile(Emitter& e, int64_t number, Value from, Value stride) {
  e.call("llvm.x86.tileloadd64", {tileNumber(e, number), from, stride});
}
void storeTile(Emitter& e, int64_t number, Value to, Value stride) {
  e.call("llvm.x86.tilestored64", {tileNumber(e, number), to, stride});
}

}  // namespace

bool configureTiles(Emitter& e, const TileShape& shape) {
  std::array<char, 64> config = {1};  // palette
  for (int64_t i = 0; i < kRegisters; ++i) {
    const int64_t bytes = i < kRows ? kPair * shape.columns : 64;
    const int64_t rows = i < kColumns || i >= kRows ? shape.rows : TileShape::kMost;
    config[16 + 2 * i] = static_cast<char>(bytes);
    config[48 + i] = static_cast<char>(rows);
  }
  return e.configureTiles(config);
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

void TileProducts::begin() {
  eachSum(e_.i64(0), e_.i64(0), shape_.across, [&](auto... sum) { loadTile(e_, sum...); });
}

void TileProducts::end() {
  eachSum(e_.i64(0), e_.i64(0), shape_.across, [&](auto... sum) { storeTile(e_, sum...); });
}

void TileProducts::add(const DotRows& rows, Value columns, Value first, int64_t depth) {
  const Value from = e_.offset(columns, e_.mul(first, e_.i64(shape_.columnBytes(1))));
  if (isOneBlock()) return block(rows, from, e_.i64(0), e_.i64(0), shape_.across, depth);
  const auto tiles = [&](Value row, Value column, int64_t across) {
    eachSum(row, column, across, [&](auto... sum) { loadTile(e_, sum...); });
    block(rows, from, row, column, across, depth);
    eachSum(row, column, across, [&](auto... sum) { storeTile(e_, sum...); });
  };
  e_.loop(0, sums_.rows, shape_.rows * shape_.down, [&](Value row) {
    if (!used_ || shape_.columns == sums_.columns)
      return e_.loop(0, sums_.columns, shape_.step(),
                     [&](Value column) { tiles(row, column, shape_.across); });
    e_.loop(e_.i64(0), used_, e_.i64(shape_.step()), {}, [&](Value column, mlir::ValueRange) {
      const auto first = [&](int64_t across) {
        return [&, across] {
          tiles(row, column, across);
          return Values();
        };
      };
      if (shape_.across == 1) return first(1)();
      const Value isOne = e_.compare(mlir::arith::CmpIPredicate::sle, e_.sub(used_, column),
                                     e_.i64(shape_.columns));
      return branch(e_, isOne, first(1), first(shape_.across));
    });
  });
}

void TileProducts::block(const DotRows& rows, Value columns, Value row, Value column,
                         int64_t across, int64_t depth) {
  Values lines, groups;
  for (int64_t i = 0; i < shape_.down; ++i)
    lines.push_back(rows.row(e_, e_.add(row, e_.i64(i * shape_.rows))));
  for (int64_t j = 0; j < across; ++j)
    groups.push_back(
        e_.offset(e_.offset(columns, e_.mul(column, e_.i64(k_ * 2))), j * shape_.columnBytes(k_)));
  for (int64_t k = 0; k < depth; k += TileShape::kDepth) {
    for (int64_t j = 0; j < across; ++j)
      loadTile(e_, kColumns + j, e_.offset(groups[j], shape_.columnBytes(k)),
               e_.i64(kPair * shape_.columns));
    for (int64_t i = 0; i < shape_.down; ++i)
      loadTile(e_, kRows + i, e_.offset(lines[i], 2 * k), rows.stride);
    for (int64_t i = 0; i < shape_.down; ++i)
      for (int64_t j = 0; j < across; ++j)
        e_.call("llvm.x86.tdpbf16ps",
                {tileNumber(e_, sumNumber(k / TileShape::kDepth % shape_.chains, i, j)),
                 tileNumber(e_, kRows + i), tileNumber(e_, kColumns + j)});
  }
}

void TileProducts::eachSum(Value row, Value column, int64_t across,
                           llvm::function_ref<void(int64_t, Value, Value)> visit) {
  const Value element = e_.add(e_.mul(row, e_.i64(sums_.columns)), column);
  const Value first = e_.offset(sums_.base, e_.shl(element, 2));
  for (int64_t chain = 0; chain < shape_.chains; ++chain)
    for (int64_t i = 0; i < shape_.down; ++i)
      for (int64_t j = 0; j < across; ++j) {
        const int64_t line = (chain * sums_.rows + i * shape_.rows) * sums_.columns;
        visit(sumNumber(chain, i, j), e_.offset(first, 4 * (line + j * shape_.columns)),
              e_.i64(4 * sums_.columns));
      }
}

void transposeSums(Emitter& e, const TileSums& sums, Value to, bool adds) {
  const int64_t m = sums.columns, n = sums.rows;
  const TileShape shape(n, m);
  const int64_t rows = shape.rows, columns = shape.columns;
  const int64_t run = std::min(rows, columns);
  e.loop(0, n, rows, [&](Value row) {
    e.loop(0, m, columns, [&](Value column) {
      const Value source = e.offset(sums.base, e.shl(e.add(e.mul(row, e.i64(m)), column), 2));
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
      for (int64_t at = 0; at < rows * columns; at += run) {
        const Value address = e.offset(target, 4 * (at / rows * n + at % rows));
        Value total = e.slice(turned[at / columns], at % columns, run);
        if (adds) total = e.add(e.load(e.type(e.f32(), run), address, 4), total);
        e.store(total, address, 4);
      }
    });
  });
}

}  // namespace tessera::compiler::cpu
