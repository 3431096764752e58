// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/wanted_rows.h"

namespace tessera::comm {

WantedRows wanted_rows(std::span<const int32_t> wanted, int rank, int size) {
  const auto ranks = static_cast<size_t>(size), me = static_cast<size_t>(rank);
  WantedRows lists{RowLists(ranks), RowLists(ranks), RowLists(ranks), wanted.size() / ranks};
  const size_t share = lists.rows / ranks;
  for (size_t row = 0; row < lists.rows; ++row) {
    const size_t owner = row / share;
    if (wanted[row * ranks + me] >= 0) lists.of_owners[owner].push_back(row);
    if (owner != me) continue;
    for (size_t s = 0; s < ranks; ++s)
      if (wanted[row * ranks + s] >= 0) {
        lists.own[s].push_back(row % share);
        lists.own_parts[s].push_back(s * share + row % share);
      }
  }
  return lists;
}

}  // namespace tessera::comm
