// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/tile_type.h"

#include <fmt/format.h>

#include <bit>

namespace tessera::lang {

std::string TileShape::to_string() const {
  std::string text = "[";
  for (int64_t d : dims())
    fmt::format_to(std::back_inserter(text), "{}{}", text.size() > 1 ? ", " : "", d);
  return text + (rank_ > kMaxRank ? ", ..]" : "]");
}

std::string TileShape::defect() const {
  if (rank_ > kMaxRank)
    return fmt::format("shape {} has {} dimensions; a tile has at most {}", to_string(), rank_,
                       kMaxRank);
  int64_t elements = 1;
  for (int64_t d : dims()) {
    if (d <= 0 || !std::has_single_bit(static_cast<uint64_t>(d)))
      return fmt::format("shape {}: extent {} is not a power of two", to_string(), d);
    if (d > kMaxElements || (elements *= d) > kMaxElements)
      return fmt::format("shape {} has more than {} elements", to_string(), kMaxElements);
  }
  return {};
}

std::string TileType::to_string() const {
  return std::string(name(dtype)) + (shape.rank() == 0 ? "" : shape.to_string());
}

}  // namespace tessera::lang
