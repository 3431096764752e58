// SPDX-License-Identifier: Apache-2.0
// Which of a fixed set of byte strings is the longest prefix of a text? A walk costs cache misses
// and little else, so a node has 8 bytes and the children of a node lie side by side, sorted.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::text {

class ByteTrie {
 public:
  static constexpr uint32_t kNone = ~0u;

  struct Match {
    uint32_t value = kNone;
    size_t length = 0;
  };

  ByteTrie() = default;  // matches nothing

  static constexpr uint32_t kMostValues = (1u << 22) - 1;
  static constexpr size_t kMostBytes = (1u << 25) - 1;

  /// Strings are distinct, not empty and at most kMostBytes together; values are below kMostValues.
  explicit ByteTrie(std::vector<std::pair<std::string_view, uint32_t>> entries);

  /// The longest entry that `text` starts with; value kNone when there is none.
  Match longest_match(std::string_view text) const {
    Match best;
    if (text.empty()) return best;
    uint32_t node = roots_[static_cast<uint8_t>(text[0])];
    for (size_t length = 1; node != 0; ++length) {
      const Node at = nodes_[node];
      if (at.value != kMostValues) best = {static_cast<uint32_t>(at.value), length};
      if (length == text.size()) break;
      node = child(at, static_cast<uint8_t>(text[length]));
    }
    return best;
  }

  /// Whether an entry starts with this byte.
  bool starts_with(char byte) const { return roots_[static_cast<uint8_t>(byte)] != 0; }

 private:
  struct Node {
    uint64_t label : 8 = 0;  // the byte that leads here
    uint64_t children : 9 = 0;
    uint64_t value : 22 = kMostValues;  // kMostValues: no entry ends here
    uint64_t first_child : 25 = 0;
  };
  static_assert(sizeof(Node) == 8);

  /// The child that `label` leads to; 0: none.
  uint32_t child(const Node& parent, uint8_t label) const {
    const Node* children = nodes_.data() + parent.first_child;
    const size_t count = parent.children;
    size_t i = 0;
    if (count <= 8) {
      while (i < count && children[i].label != label) ++i;
    } else {
      // Continuation bytes often come without gaps.
      i = static_cast<size_t>(label) - children[0].label;
      if (i >= count || children[i].label != label) i = search(children, count, label);
    }
    return i < count ? static_cast<uint32_t>(parent.first_child + i) : 0;
  }
  /// The index of `label` among sorted children, or `count`.
  static size_t search(const Node* children, size_t count, uint8_t label);

  std::array<uint32_t, 256> roots_{};  // node of a first byte; 0: none
  std::vector<Node> nodes_;            // breadth first; node 0 is the root
};

}  // namespace tessera::text
