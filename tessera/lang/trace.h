// SPDX-License-Identifier: Apache-2.0
// A traced kernel: plain data, hashable, independent of any compiler.
//
// Arguments travel as 64-bit slots. A view of rank r owns 1 + r + max(r - 1, 0) consecutive slots
// from ViewDecl::first_slot: address, extents [r], strides [r - 1] in elements (the last stride is
// 1). A scalar argument owns one slot holding its bit pattern, low bits first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/hash.h"
#include "tessera/base/result.h"
#include "tessera/lang/opcode.h"
#include "tessera/lang/tile_type.h"

namespace tessera::lang {

using ValueId = int32_t;

enum class Access : uint8_t { kRead, kWrite, kReadWrite };

/// Promise that a run-time number is a multiple of `divisor` (1, 2, 4, 8, 16 or 128; 0 = the number
/// is 1).
using Divisor = uint8_t;

struct ViewDecl {
  std::string name;
  DType dtype;
  Access access;
  std::vector<Divisor> extent_divisors;  // [rank]
  std::vector<Divisor> stride_divisors;  // [rank - 1]
  bool constant = false;                 // weights: a target may choose a packed layout
  bool streamed = false;                 // not read back soon: stores may bypass the caches
  uint32_t first_slot = 0;

  int rank() const { return static_cast<int>(extent_divisors.size()); }
  uint32_t address_slot() const { return first_slot; }
  uint32_t extent_slot(int dim) const { return first_slot + 1 + dim; }
  uint32_t stride_slot(int dim) const { return first_slot + 1 + rank() + dim; }
  uint32_t slot_count() const { return 1 + rank() + (rank() > 1 ? rank() - 1 : 0); }
};

struct ScalarDecl {
  std::string name;
  DType dtype;
  Divisor divisor = 1;
  uint32_t slot = 0;
};

struct SourceLine {
  std::string file;  // relative to the include root
  uint32_t line = 0;
};

struct Block;

struct Node {
  Opcode op;
  std::vector<ValueId> operands;
  std::vector<ValueId> results;
  std::vector<int64_t> ints;
  std::vector<Block> regions;
  uint32_t line = 0;  // index into Trace::lines
};

struct Block {
  std::vector<ValueId> params;
  std::vector<Node> nodes;
  std::vector<ValueId> yields;
};

/// Decoded operands and ints of load, store, gather, scatter and atomic_add.
/// `offsets` has one entry a view dimension: the tile covers the trailing dimensions, leading ones
/// are plain indices. In gather, scatter and atomic_add the rows tile [R] replaces the offset of
/// the view's second-to-last dimension (tile [R, C]; offsets there is the base added to every row
/// index), or, for a tile of rank 1 over the view's last dimension, of the last one. A row index
/// (before the base is added) below 0 or a position outside [0, extent) is out of bounds: loads
/// give `fill`, stores do nothing. Tiles of f4 hold at least two elements in the last dimension;
/// their offset there and the strides of the view are even. Rows of a scatter that are in bounds
/// are distinct.
struct MemoryAccess {
  uint32_t view = 0;
  std::vector<ValueId> offsets;          // [view rank], i64 scalars
  std::vector<ValueId> extent_override;  // [view rank], -1 = the view's own extent
  ValueId rows = -1;                     // gather, scatter, atomic_add
  ValueId tile = -1;                     // store, scatter, atomic_add
  ValueId mask = -1;                     // store: i1, shape of the tile
  int64_t fill = 0;  // load, gather: as the value of a constant of the view's dtype
};

struct Trace {
  std::string name;  // operator and kernel, e.g. "rms_norm.rows"
  std::vector<ViewDecl> views;
  std::vector<ScalarDecl> scalars;
  std::vector<TileType> values;  // by ValueId
  std::vector<SourceLine> lines;
  Block body;
  uint32_t slot_count = 0;
  int32_t warps = 0;  // hints for simt chips; 0 = the target chooses
  int32_t stages = 0;

  const TileType& type(ValueId v) const { return values[v]; }
  /// "tessera/ops/norm/rms_norm.h:40", or empty where lines were not kept.
  std::string line(const Node& node) const;
  MemoryAccess memory_access(const Node& node) const;

  /// Equal traces give equal bytes. Source lines are left out unless asked for, so moving code
  /// keeps packs valid.
  enum class Lines : uint8_t { kOmit, kKeep };
  std::vector<std::byte> serialize(Lines lines = Lines::kOmit) const;
  /// Checks every count, id and opcode: hostile bytes give `corrupt`, never undefined behaviour.
  static Result<Trace> parse(std::span<const std::byte> bytes);
  Hash128 hash() const;
  /// Readable listing for `ops show --trace` and error reports.
  std::string to_string() const;
};

}  // namespace tessera::lang
