// SPDX-License-Identifier: Apache-2.0
// Ends a streamed text where one of some texts begins: the one that is complete first, the longest
// of those. How the text is cut does not matter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::engine {

class StopMatcher {
 public:
  /// None of `stops` is empty.
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// What can be given out: neither a stop text nor the beginning of one. Nothing after a match.
  std::string push(std::string_view text);

  /// What was held back, at the end of the text.
  std::string finish();

  /// The text that ended it, or null.
  const std::string* matched() const {
    return matched_ < stops_.size() ? &stops_[matched_] : nullptr;
  }

 private:
  size_t held_back() const;

  std::vector<std::string> stops_;
  std::string pending_;
  size_t matched_ = SIZE_MAX;  // of stops_
};

}  // namespace tessera::engine
