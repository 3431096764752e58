// SPDX-License-Identifier: Apache-2.0
// How routed (token, expert) pairs are laid out for the grouped products, and the same in plain
// host code for references and test inputs. A pair has the number p = token * experts_per_token +
// j.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops::moe {

/// Most tiles of `block` slots that any routing of `pairs` pairs can need.
constexpr int64_t max_tiles(int64_t pairs, int64_t experts, int64_t block) {
  return block == 1 ? pairs : (pairs + block - 1) / block + std::min(experts, pairs);
}

/// Pairs sorted by expert, by number within an expert; each expert's group padded to a multiple of
/// `block` slots with -1. A pair whose expert is outside [0, experts) is in no group.
struct Alignment {
  std::vector<int64_t> slots;        // pair or -1
  std::vector<int64_t> tile_expert;  // one a tile of `block` slots
};

inline Alignment align(const HostTensor& ids, int64_t experts, int64_t block) {
  Alignment out;
  for (int64_t e = 0; e < experts; ++e) {
    for (int64_t p = 0; p < ids.numel(); ++p)
      if (ids.flat(p) == static_cast<double>(e)) out.slots.push_back(p);
    while (out.slots.size() % static_cast<size_t>(block) != 0) out.slots.push_back(-1);
    out.tile_expert.resize(out.slots.size() / static_cast<size_t>(block), e);
  }
  return out;
}

/// Different experts for each token. Notes: "one expert" sends all to expert 1, "empty experts"
/// uses every third only, "ascending" makes the order of the pairs that of the experts.
inline void fill_routing(Inputs& in, HostTensor& ids, int64_t experts) {
  const int64_t per_token = ids.extent(1);
  const std::string& note = in.test_case().note;
  std::vector<int64_t> order(static_cast<size_t>(experts));
  for (int64_t e = 0; e < experts; ++e) order[static_cast<size_t>(e)] = e;
  for (int64_t t = 0; t < ids.extent(0); ++t) {
    std::shuffle(order.begin(), order.end(), in.random());
    int64_t next = 0;
    for (int64_t j = 0; j < per_token; ++j) {
      if (note == "empty experts")
        while (order[static_cast<size_t>(next)] % 3 != 0) ++next;
      ids.set({t, j},
              note == "one expert" ? 1.0 : static_cast<double>(order[static_cast<size_t>(next++)]));
    }
  }
}

}  // namespace tessera::ops::moe
