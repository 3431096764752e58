// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/arena_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace tessera::model {
namespace {

struct Placed {
  int64_t begin, end;
  int last;
};

int64_t rounded(int64_t bytes) {
  return (bytes + ArenaPlan::kAlignment - 1) / ArenaPlan::kAlignment * ArenaPlan::kAlignment;
}

/// Position in `alive` (sorted by address) before which `bytes` fit most tightly.
std::vector<Placed>::iterator tightest_gap(std::vector<Placed>& alive, int64_t bytes) {
  auto best = alive.end();
  int64_t best_size = std::numeric_limits<int64_t>::max();
  int64_t end = 0;
  for (auto next = alive.begin(); next != alive.end(); ++next) {
    const int64_t size = next->begin - end;
    if (size >= bytes && size < best_size) {
      best = next;
      best_size = size;
    }
    end = next->end;
  }
  return best;
}

}  // namespace

ArenaPlan plan_arena(std::span<const ArenaBlock> blocks) {
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (blocks[a].first != blocks[b].first) return blocks[a].first < blocks[b].first;
    return blocks[a].bytes > blocks[b].bytes;
  });
  ArenaPlan plan;
  plan.offsets.resize(blocks.size());
  std::vector<Placed> alive;
  for (size_t i : order) {
    const ArenaBlock& block = blocks[i];
    if (block.bytes == 0) continue;
    std::erase_if(alive, [&](const Placed& placed) { return placed.last < block.first; });
    const int64_t bytes = rounded(block.bytes);
    const auto next = tightest_gap(alive, bytes);
    const int64_t begin = next == alive.begin() ? 0 : std::prev(next)->end;
    alive.insert(next, {begin, begin + bytes, block.last});
    plan.offsets[i] = begin;
    plan.bytes = std::max(plan.bytes, begin + bytes);
  }
  return plan;
}

}  // namespace tessera::model
