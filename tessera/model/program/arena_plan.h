// SPDX-License-Identifier: Apache-2.0
// Places blocks that live for a span of calls in one stretch of memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::model {

struct ArenaBlock {
  int64_t bytes;
  int first, last;  // calls, both inclusive
};

struct ArenaPlan {
  std::vector<int64_t> offsets;  // by block, multiples of kAlignment
  int64_t bytes = 0;

  static constexpr int64_t kAlignment = 256;
};

/// Blocks alive during a common call never overlap. Each goes, in the order of first calls, to the
/// tightest gap that holds it; empty blocks get offset 0.
ArenaPlan plan_arena(std::span<const ArenaBlock> blocks);

}  // namespace tessera::model
