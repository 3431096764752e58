// SPDX-License-Identifier: Apache-2.0
// Products in tile registers (AMX): rows of bf16 times columns packed in pairs along K, summed in
// f32. An instruction multiplies up to 16 rows with up to 16 columns, in the same time for fewer
// columns. A column's sums depend on no other column, nor a row's on another row.
#pragma once

#include <algorithm>

#include "tessera/compiler/lowering/cpu/dot_pack.h"

namespace tessera::compiler::cpu {

/// Tiles of a product of `rows` x `columns` sums: the size of one, and how many make a block whose
/// sums fill the registers. An instruction gives its sums after 52 cycles and another may begin
/// after 16 or fewer: where a block is one tile, several chains of sums along K, each with a copy
/// of the sums in memory, keep the unit busy. Larger blocks have one chain, so that a column's sums
/// are those it has among more columns.
struct TileShape {
  static constexpr int64_t kMost = 16;   // rows or columns of a register
  static constexpr int64_t kDepth = 32;  // elements of K of one instruction

  int64_t rows, columns, down, across, chains;

  TileShape(int64_t ofRows, int64_t ofColumns)
      : rows(std::min(ofRows, kMost)),
        columns(std::min(ofColumns, kMost)),
        down(std::min<int64_t>(2, ofRows / rows)),
        across(std::min<int64_t>(2, ofColumns / columns)),
        chains(down * across == 1 ? 4 : 1) {}
  TileShape oneChain() const {
    TileShape shape = *this;
    shape.chains = 1;
    return shape;
  }

  /// Columns of a block.
  int64_t step() const { return columns * across; }
  /// Bytes of k packed elements of one tile's columns: [depth][16 pairs][column].
  int64_t columnBytes(int64_t k) const { return 2 * k * columns; }
};

/// Sets the shapes of the tile registers at the function's entry. False: they were set for tiles of
/// other sizes before.
bool configureTiles(Emitter& e, const TileShape& shape);

/// Lane 0 of each row, then lane 1 of each, ..: as many vectors as there are rows, a power of two.
Values interleave(Emitter& e, llvm::ArrayRef<mlir::Value> rows);

/// f32 [rows, columns] in memory, 64-byte aligned; `shape.chains` copies, one behind the other.
struct TileSums {
  mlir::Value base;
  int64_t rows, columns;
};

/// Adds products to sums, block of K by block.
class TileProducts {
 public:
  /// `used`: columns wanted, null for all. `k`: of the packed columns.
  TileProducts(Emitter& e, const TileShape& shape, const TileSums& sums, int64_t k,
               mlir::Value used = {})
      : e_(e), shape_(shape), sums_(sums), k_(k), used_(used) {}

  /// Whether all sums are in registers at once: they stay there from begin() to end().
  bool isOneBlock() const {
    return sums_.rows == shape_.rows * shape_.down && sums_.columns == shape_.step();
  }
  void begin();
  void end();

  /// `rows`: `depth` elements of each row. `columns`: all k packed elements, of which `first` come
  /// before the block.
  void add(const DotRows& rows, mlir::Value columns, mlir::Value first, int64_t depth);

 private:
  /// A block, or its first `across` columns of tiles.
  void block(const DotRows& rows, mlir::Value columns, mlir::Value row, mlir::Value column,
             int64_t across, int64_t depth);
  int64_t sumNumber(int64_t chain, int64_t i, int64_t j) const {
    return (chain * shape_.down + i) * shape_.across + j;
  }
  /// visit(register, address, stride) of the sums of a block.
  void eachSum(mlir::Value row, mlir::Value column, int64_t across,
               llvm::function_ref<void(int64_t, mlir::Value, mlir::Value)> visit);

  Emitter& e_;
  const TileShape shape_;
  const TileSums sums_;
  const int64_t k_;
  const mlir::Value used_;
};

/// to [columns, rows] = the total of the copies of `sums`; where `adds`, that plus what was there.
/// Both are f32 and 64-byte aligned.
void transposeSums(Emitter& e, const TileSums& sums, mlir::Value to, bool adds);

}  // namespace tessera::compiler::cpu
