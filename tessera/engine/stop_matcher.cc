// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace tessera::engine {

std::string StopMatcher::push(std::string_view text) {
  if (matched() != nullptr) return {};
  pending_ += text;
  size_t first = pending_.size(), first_end = std::string::npos;
  for (size_t i = 0; i < stops_.size(); ++i) {
    const size_t at = pending_.find(stops_[i]);
    if (at == std::string::npos) continue;
    const size_t end = at + stops_[i].size();
    if (end < first_end || (end == first_end && at < first)) {
      first = at;
      first_end = end;
      matched_ = i;
    }
  }
  const bool goes_on = matched() == nullptr;
  if (goes_on) first -= held_back();
  std::string out = pending_.substr(0, first);
  pending_.erase(0, goes_on ? first : pending_.size());
  return out;
}

std::string StopMatcher::finish() { return std::exchange(pending_, {}); }

/// Length of the longest end of the text with which a stop text begins.
size_t StopMatcher::held_back() const {
  size_t longest = 0;
  for (const std::string& stop : stops_)
    for (size_t n = std::min(stop.size() - 1, pending_.size()); n > longest; --n)
      if (pending_.ends_with(std::string_view(stop).substr(0, n))) longest = n;
  return longest;
}

}  // namespace tessera::engine
