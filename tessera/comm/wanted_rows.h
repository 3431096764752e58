// SPDX-License-Identifier: Apache-2.0
// Which rows a rank sends and gets in dispatch() and combine() (communicator.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::comm {

/// For every rank, rows in ascending order.
using RowLists = std::vector<std::vector<size_t>>;

struct WantedRows {
  RowLists own;        // of this rank's share, from 0, that a rank gets
  RowLists of_owners;  // of the whole table, that this rank gets of a rank
  RowLists own_parts;  // as `own`, counted in [size, a share]
  size_t rows = 0;     // of the table
};

/// `wanted` [rows, size], as the communicator's functions take it.
WantedRows wanted_rows(std::span<const int32_t> wanted, int rank, int size);

}  // namespace tessera::comm
