// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/launch_order.h"

#include <algorithm>
#include <iterator>

namespace tessera::model {
namespace {

constexpr size_t kBits = 64;

}  // namespace

LaunchOrder::Regions::iterator LaunchOrder::cut(uint64_t address) {
  const auto next = regions_.lower_bound(address);
  if (next == regions_.begin()) return next;
  const auto at = std::prev(next);
  if (at->second.last <= address) return next;
  Region rest = at->second;
  at->second.last = address;
  return regions_.emplace_hint(next, address, std::move(rest));
}

std::vector<uint32_t> LaunchOrder::append(std::vector<uint32_t> waits) {
  std::ranges::sort(waits);
  waits.erase(std::unique(waits.begin(), waits.end()), waits.end());
  std::vector<uint64_t> before((before_.size() + kBits - 1) / kBits);
  std::vector<uint32_t> needed;
  for (auto wait = waits.rbegin(); wait != waits.rend(); ++wait) {
    uint64_t& word = before[*wait / kBits];
    const uint64_t bit = uint64_t{1} << (*wait % kBits);
    if ((word & bit) != 0) continue;
    needed.push_back(*wait);
    word |= bit;
    const std::vector<uint64_t>& earlier = before_[*wait];
    for (size_t i = 0; i < earlier.size(); ++i) before[i] |= earlier[i];
  }
  before_.push_back(std::move(before));
  std::ranges::reverse(needed);
  return needed;
}

std::vector<uint32_t> LaunchOrder::add(std::span<const ops::MemoryUse> uses) {
  const auto number = static_cast<uint32_t>(before_.size());
  std::vector<uint32_t> waits;
  const auto wait_for = [&](int64_t launch) {
    if (launch >= 0 && launch != number) waits.push_back(static_cast<uint32_t>(launch));
  };
  wait_for(barrier_);
  for (const ops::MemoryUse& use : uses) {
    if (use.first >= use.last) continue;
    const auto begin = cut(use.first), end = cut(use.last);
    uint64_t reached = use.first;
    for (auto region = begin; region != end; ++region) {
      wait_for(region->second.writer);
      if (use.written)
        for (const uint32_t reader : region->second.readers) wait_for(reader);
      else
        region->second.readers.push_back(number);
    }
    if (use.written) {
      regions_.erase(begin, end);
      regions_.emplace(use.first, Region{use.last, number});
      continue;
    }
    // What nobody has named yet.
    for (auto region = begin; region != end; ++region) {
      if (region->first > reached) regions_.emplace(reached, Region{region->first, -1, {number}});
      reached = region->second.last;
    }
    if (reached < use.last) regions_.emplace(reached, Region{use.last, -1, {number}});
  }
  return append(std::move(waits));
}

std::vector<uint32_t> LaunchOrder::add_barrier() {
  std::vector<uint32_t> all(before_.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint32_t>(i);
  barrier_ = static_cast<int64_t>(before_.size());
  regions_.clear();
  return append(std::move(all));
}

}  // namespace tessera::model
