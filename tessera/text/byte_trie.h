// SPDX-License-Identifier: Apache-2.0
// Which of a fixed set of byte strings is the longest prefix of a text? Children of a node lie side by
// side, so that a step is one search in a few neighbouring bytes.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
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

  /// Strings are distinct and not empty; values are not kNone.
  explicit ByteTrie(std::vector<std::pair<std::string_view, uint32_t>> entries);

  /// The longest entry that `text` starts with; value kNone when there is none.
  Match longest_match(std::string_view text) const {
    Match best;
    if (text.empty()) return best;
    uint32_t node = roots_[static_cast<uint8_t>(text[0])];
    for (size_t length = 1; node != 0; ++length) {
      const Node& at = nodes_[node];
      if (at.value != kNone) best = {at.value, length};
      if (length == text.size() || at.children == 0) break;
      const uint8_t* labels = labels_.data() + at.first_child;
      const void* found = std::memchr(labels, static_cast<uint8_t>(text[length]), at.children);
      if (found == nullptr) break;
      node = at.first_child + static_cast<uint32_t>(static_cast<const uint8_t*>(found) - labels);
    }
    return best;
  }

  /// Whether an entry starts with this byte.
  bool starts_with(char byte) const { return roots_[static_cast<uint8_t>(byte)] != 0; }

 private:
  struct Node {
    uint32_t value = kNone;
    uint32_t first_child = 0;
    uint32_t children = 0;
  };
  std::array<uint32_t, 256> roots_{};  // node of a first byte; 0: none
  std::vector<Node> nodes_;            // breadth first; node 0 is the root
  std::vector<uint8_t> labels_;        // the byte that leads to a node
};

}  // namespace tessera::text
