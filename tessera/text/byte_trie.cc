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
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    if (begin < end && entries[begin].first.size() == depth) {
      TESSERA_CHECK(depth > 0, "an empty string in a trie");
      TESSERA_CHECK(entries[begin].second < kMostValues, "value {}", entries[begin].second);
      nodes_[node].value = entries[begin++].second & kMostValues;
      TESSERA_CHECK(begin == end || entries[begin].first.size() > depth,
                    "a string twice in a trie");
    }
    TESSERA_CHECK(nodes_.size() <= kMostBytes);
    nodes_[node].first_child = nodes_.size() & kMostBytes;
    while (begin < end) {
      const char label = entries[begin].first[depth];
      size_t next = begin;
      while (next < end && entries[next].first[depth] == label) ++next;
      ranges.push_back({begin, next, depth + 1});
      nodes_.emplace_back().label = static_cast<uint8_t>(label);
      ++nodes_[node].children;
      begin = next;
    }
  }
  for (uint32_t i = 1; i <= nodes_[0].children; ++i) roots_[nodes_[i].label] = i;
}

size_t ByteTrie::search(const Node* children, size_t count, uint8_t label) {
  size_t low = 0, high = count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (children[middle].label == label) return middle;
    if (children[middle].label < label) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return count;
}

}  // namespace tessera::text
