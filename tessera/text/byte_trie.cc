// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/byte_trie.h"

#include <algorithm>

#include "tessera/base/check.h"

namespace tessera::text {

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, uint32_t>> entries) {
  std::ranges::sort(entries);
  // Breadth first: range[i] are the entries below node i, which share their first `depth` bytes.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  nodes_.resize(1);
  labels_.resize(1);
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    if (begin < end && entries[begin].first.size() == depth) {
      TESSERA_CHECK(depth > 0, "an empty string in a trie");
      nodes_[node].value = entries[begin++].second;
      TESSERA_CHECK(begin == end || entries[begin].first.size() > depth, "a string twice in a trie");
    }
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char label = entries[begin].first[depth];
      size_t next = begin;
      while (next < end && entries[next].first[depth] == label) ++next;
      ranges.push_back({begin, next, depth + 1});
      nodes_.emplace_back();
      labels_.push_back(static_cast<uint8_t>(label));
      ++nodes_[node].children;
      begin = next;
    }
  }
  for (uint32_t i = 0; i < nodes_[0].children; ++i) roots_[labels_[1 + i]] = 1 + i;
}

}  // namespace tessera::text
