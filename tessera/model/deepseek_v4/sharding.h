// SPDX-License-Identifier: Apache-2.0
// Which part of each tensor a tensor-parallel rank holds. Nothing that can be split is stored
// twice. With more ranks than o-groups, R = ranks / o_groups ranks share a group: each keeps the
// columns of wo_a of its own heads (partial sums are reduced and scattered over the group), and the
// matching 1/R of the group's columns of wo_b.
#pragma once

#include <cstdint>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {

struct Rank {
  int64_t number = 0, count = 1;
};

/// Rows and columns of a stored tensor; of one of rank 1 its elements are the rows.
struct Slice {
  int64_t row_begin = 0, row_end = 0;
  int64_t column_begin = 0, column_end = 0;

  int64_t rows() const { return row_end - row_begin; }
  int64_t columns() const { return column_end - column_begin; }
  uint64_t bytes(DType dtype) const {
    return static_cast<uint64_t>(size_in_bytes(dtype, rows() * columns()));
  }
};

/// Error: invalid_argument when that many ranks cannot share this model, with the numbers that do.
Result<> check_ranks(const Config& config, int64_t ranks);

/// The rank's part; empty for an expert of another rank. Scales that lie across the border of two
/// ranks belong to both. `rank.count` has passed check_ranks.
Slice slice_of(const WeightSpec& weight, const Config& config, Rank rank);

}  // namespace tessera::model::deepseek_v4
