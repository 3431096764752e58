// SPDX-License-Identifier: Apache-2.0
// Which of the launches before it a launch has to wait for, by the memory they read and write.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "tessera/ops/frame/prepared.h"

namespace tessera::model {

/// Launches are numbered in the order in which they are added. Waiting for what add() gives, and
/// for what these wait for in turn, leaves every read and write the order they have in the program.
class LaunchOrder {
 public:
  /// The launches to wait for; none of them waits for another.
  std::vector<uint32_t> add(std::span<const ops::MemoryUse> uses);
  /// The same for work on memory that nobody tells of: it follows all before it, all after it
  /// follow it.
  std::vector<uint32_t> add_barrier();

 private:
  /// Memory from a key of `regions_` to the next one's.
  struct Region {
    uint64_t last;
    int64_t writer;                      // -1: none
    std::vector<uint32_t> readers = {};  // since it was written
  };
  using Regions = std::map<uint64_t, Region>;
  /// Cuts the region that holds `address` inside; the first region at or after it.
  Regions::iterator cut(uint64_t address);
  /// Adds the launch `number` and gives `waits` without those that others of them wait for.
  std::vector<uint32_t> append(std::vector<uint32_t> waits);

  Regions regions_;  // disjoint
  int64_t barrier_ = -1;
  std::vector<std::vector<uint64_t>>
      before_;  // bits of the launches each waits for, also by others
};

}  // namespace tessera::model
