// SPDX-License-Identifier: Apache-2.0
// Which part of each tensor a tensor-parallel rank holds. Nothing that can be split is stored
// twice. With more ranks than o-groups, R = ranks / o_groups ranks share a group: each keeps the
// columns of wo_a of its own heads (partial sums are reduced and scattered over the group), and the
// matching 1/R of the group's columns of wo_b.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {

/// How tokens and experts of other ranks meet.
enum class ExpertExchange : uint8_t {
  all_reduce,  // every rank has every token's row; the sums of all ranks' experts are added
  all_to_all,  // rows go to the ranks of their experts and come back; the shared expert is whole
};

constexpr std::string_view name(ExpertExchange experts) {
  return experts == ExpertExchange::all_to_all ? "all-to-all" : "all-reduce";
}

struct Rank {
  int64_t number = 0, count = 1;
  ExpertExchange experts = ExpertExchange::all_reduce;
};

/// Things [begin, end) of a rank.
struct Share {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
};
Share vocabulary_share(const Config& config, Rank rank);
Share expert_share(const Config& config, Rank rank);
/// Of the shared expert's width: all of it where rows are exchanged. Otherwise as many ranks as
/// blocks of 128, or fewer, take whole blocks; otherwise a rank's share lies inside one block, and
/// may be empty.
Share width_share(const Config& config, Rank rank);
/// Ranks that share an o-group; 1 when a rank has whole groups.
int64_t ranks_per_group(const Config& config, int64_t ranks);
/// Outputs of its o-groups that a rank hands to wo_b.
Share group_output_share(const Config& config, Rank rank);

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

/// Whether a tensor of that name is of a routed expert, or of a stack of them.
bool is_of_experts(std::string_view name);

/// Whether the slice is a block of consecutive rows; one that is not cannot stay where a file has
/// it.
bool is_rows(const Slice& slice, const WeightSpec& weight);

/// The rank's part; empty for an expert of another rank. Scales that lie across the border of two
/// ranks belong to both. `rank.count` has passed check_ranks.
Slice slice_of(const WeightSpec& weight, const Config& config, Rank rank);

/// The tensors a rank holds a part of, by name.
class Shards {
 public:
  /// Everything is whole.
  Shards() = default;
  Shards(const Config& config, Rank rank);

  struct Part {
    Slice slice;
    bool is_rows = true;
  };
  /// nullptr: taken whole.
  const Part* find(std::string_view name) const;
  /// Whether a tensor is of an expert of another rank.
  bool is_elsewhere(std::string_view name) const;
  /// Several ranks: a tensor is one of few that this rank needs of a file.
  bool any() const { return rank_.count > 1; }

 private:
  Rank rank_;
  Share experts_;
  std::map<std::string, Part, std::less<>> parts_;
};

}  // namespace tessera::model::deepseek_v4
