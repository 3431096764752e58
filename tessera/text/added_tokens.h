// SPDX-License-Identifier: Apache-2.0
// Added tokens (control tokens such as <｜User｜>) are found in the raw text, before anything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/text/byte_trie.h"
#include "tessera/text/text_range.h"

namespace tessera::text {

using TokenId = int32_t;

struct AddedToken {
  TokenId id = 0;
  std::string content;      // not empty
  bool special = false;     // left out by decode() unless asked for
  bool normalized = false;  // searched for in what the other ones leave
};

class AddedTokens {
 public:
  AddedTokens() = default;  // none
  /// Contents are distinct.
  explicit AddedTokens(std::span<const AddedToken> tokens);

  /// Visits the parts of `text` in order: plain text with id -1, and tokens. Where several tokens
  /// start the longest is taken. A token that touches a range of `literal` (sorted, disjoint) is
  /// text.
  using Visit = std::function<void(std::string_view part, TokenId id)>;
  void split(std::string_view text, std::span<const TextRange> literal, const Visit& visit) const;

 private:
  ByteTrie raw_, normalized_;
};

}  // namespace tessera::text
