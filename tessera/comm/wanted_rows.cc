// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/wanted_rows.h"

#include <utility>

namespace tessera::comm {

WantedRows wanted_rows(std::span<const int32_t> wanted, int rank, int size, RowWay way) {
  const auto ranks = static_cast<size_t>(size), me = static_cast<size_t>(rank);
  const size_t rows = wanted.size() / ranks, share = rows / ranks;
  const size_t apart = way == RowWay::combine ? share : 0;  // the parts of two ranks
  RowLists of_share(ranks), of_table(ranks);
  for (size_t row = 0; row < rows; ++row) {
    const size_t owner = row / share;
    if (wanted[row * ranks + me] >= 0) of_table[owner].push_back(row);
    if (owner != me) continue;
    for (size_t s = 0; s < ranks; ++s)
      if (wanted[row * ranks + s] >= 0) of_share[s].push_back(s * apart + row % share);
  }
  if (way == RowWay::combine) std::swap(of_share, of_table);
  return {std::move(of_share), std::move(of_table), rows};
}

}  // namespace tessera::comm
