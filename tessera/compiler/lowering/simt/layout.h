// SPDX-License-Identifier: Apache-2.0
// Which thread, and which of its registers, holds which element of a tile.
//
// All extents are powers of two, so the row-major position of an element is a string of bits. A
// layout gives each of these bits a place: one bit of the thread number, or one bit of the register
// number. Thread bits without a position bit hold copies. Reshapes keep the layout, transposes and
// reductions rename or drop bits, and a matrix instruction's operand is one layout among others.
#pragma once

#include <cstdint>
#include <string>

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "tessera/lang/tile_type.h"

namespace tessera::compiler::simt {

class Layout {
 public:
  static constexpr int kCopies = -1;
  /// Bit of the position held by each bit of the thread number, or kCopies.
  llvm::SmallVector<int8_t, 10> threads;
  /// Bit of the position held by each bit of the register number; ascending.
  llvm::SmallVector<int8_t, 8> registers;

  bool operator==(const Layout&) const = default;

  int64_t registerCount() const { return int64_t{1} << registers.size(); }
  /// What register `number` adds to the position of its thread's first register.
  int64_t registerOffset(int64_t number) const;
  /// The register that holds the bits of `position` that are register bits.
  int64_t registerOf(int64_t position) const;
  bool inRegister(int bit) const;
  /// The thread bit that holds the position bit, or -1.
  int threadBitOf(int bit) const;
  /// Register bits that are the lowest position bits, in a row: 2^this elements are consecutive.
  int consecutive() const;
  /// "threads [3 4 -] registers [0 1 2]"
  std::string toString() const;

  /// Each position bit renamed by `to`; a bit renamed to -1 is dropped: its thread bits hold
  /// copies.
  Layout renamed(llvm::function_ref<int(int)> to) const;
  /// The same with `bit` in a register.
  Layout withRegister(int bit) const;
  /// The same with as many of the lowest `count` bits in registers as lanes can give up for a
  /// higher register bit each.
  Layout withLowest(int count, int laneBits) const;
  /// The same with the lowest `count` bits held by registers and lanes, where registers of higher
  /// bits can make way: what is reduced along a row then stays in a warp.
  Layout withRowsInWarps(int count, int laneBits) const;
};

/// Number of position bits of a tile.
int positionBits(const lang::TileShape& shape);
/// The first position bit of a dimension, and how many it has.
int firstBit(const lang::TileShape& shape, int dim);
int bitCount(const lang::TileShape& shape, int dim);

/// Consecutive elements in a thread: at most 2^`vector` of the last dimension, at least
/// 2^`leastVector`; then threads; what is left, in registers.
Layout blockedLayout(const lang::TileShape& shape, int threadBits, int vector, int leastVector = 0);
/// Of a sum of products [M, N]: a block of rows and columns a thread.
Layout outerProductLayout(const lang::TileShape& shape, int threadBits);

/// Renamings between the tiles around a shape operation, for Layout::renamed.
struct Reduced {  // tile -> the tile reduced along `axis`
  lang::TileShape shape;
  int axis;
  int operator()(int bit) const;
};
struct Transposed {  // source -> result, whose dimension d is the source's permutation[d]
  lang::TileShape source;
  llvm::SmallVector<int64_t, 3> permutation;
  int operator()(int bit) const;
};
struct Stretched {  // result of a broadcast -> its source
  lang::TileShape source, result;
  int operator()(int bit) const;
};
struct Grouped {  // matrix -> its scales, one for a block of elements
  lang::TileShape matrix, scales;
  int operator()(int bit) const;
  /// The position of an element's scale.
  int64_t position(int64_t element) const;
};
struct Opened {  // tile -> the tile with one more bit, at `at`
  int at;
  int operator()(int bit) const { return bit < at ? bit : bit + 1; }
};
struct Closed {  // the reverse: bits [at, at + count) are dropped
  int at, count = 1;
  int operator()(int bit) const { return bit < at ? bit : bit < at + count ? -1 : bit - count; }
};

}  // namespace tessera::compiler::simt
