// SPDX-License-Identifier: Apache-2.0
// Which rows a rank sends and gets in dispatch() and combine() (communicator.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::comm {

/// For every rank, rows in ascending order.
using RowLists = std::vector<std::vector<size_t>>;

enum class RowWay : uint8_t {
  dispatch,  // from a rank's share to the whole table
  combine,   // from the whole table to [size, a share]
};

struct WantedRows {
  RowLists outgoing, incoming;  // counted in what is read and in what is written
  size_t rows = 0;              // of the table
};

/// `wanted` [rows, size], as the communicator's functions take it.
WantedRows wanted_rows(std::span<const int32_t> wanted, int rank, int size, RowWay way);

}  // namespace tessera::comm
