// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/near_names.h"

#include <algorithm>
#include <numeric>

namespace tessera::ops {
namespace {

/// Levenshtein distance.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string_view> near_names(std::string_view name,
                                         std::span<const std::string_view> names) {
  std::vector<std::pair<size_t, std::string_view>> found;
  for (std::string_view candidate : names) {
    const size_t distance = edits(name, candidate);
    const bool contains =
        name.size() >= 3 && (candidate.find(name) != candidate.npos ||
                             (candidate.size() >= 3 && name.find(candidate) != name.npos));
    if (contains)
      found.emplace_back(0, candidate);
    else if (distance <= std::max<size_t>(1, name.size() / 3))
      found.emplace_back(distance, candidate);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string_view> nearest;
  for (size_t i = 0; i < found.size() && i < 3; ++i) nearest.push_back(found[i].second);
  return nearest;
}

}  // namespace tessera::ops
