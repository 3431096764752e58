// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/sharding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

namespace tessera::model::deepseek_v4 {
namespace {

struct Range {
  int64_t begin, end;
};

/// The rank's share of `count` things, each `unit` rows or columns wide.
Range share(int64_t count, int64_t unit, Rank rank) {
  return {rank.number * count / rank.count * unit, (rank.number + 1) * count / rank.count * unit};
}

/// Ranks that share an o-group; 1 when a rank has whole groups.
int64_t ranks_per_group(const Config& config, Rank rank) {
  return std::max<int64_t>(1, rank.count / config.o_groups);
}

bool can_share(const Config& config, int64_t ranks) {
  if (config.heads % ranks != 0) return false;
  if (config.o_groups % ranks == 0) return true;
  return ranks % config.o_groups == 0 && config.o_lora_rank % (ranks / config.o_groups) == 0;
}

/// Scale blocks that a range of rows or columns touches.
void to_blocks(int64_t& begin, int64_t& end) {
  begin /= Config::kFp8Block;
  end = (end + Config::kFp8Block - 1) / Config::kFp8Block;
}

/// Of a weight itself, in its logical shape [out, in].
Slice logical_slice(const WeightSpec& weight, const Config& c, Rank rank, Slice all) {
  const auto rows = [&](Range range) {
    all.row_begin = range.begin;
    all.row_end = range.end;
  };
  const auto columns = [&](Range range) {
    all.column_begin = range.begin;
    all.column_end = range.end;
  };
  const int64_t group_ranks = ranks_per_group(c, rank);
  const Rank group{rank.number / group_ranks, rank.count / group_ranks};
  const Rank inside{rank.number % group_ranks, group_ranks};
  const Range groups = share(c.o_groups, 1, group);
  switch (weight.sharing) {
    case Sharing::replicated: break;
    case Sharing::vocabulary: rows(share(c.vocab_size, 1, rank)); break;
    case Sharing::heads:
      rows(share(c.heads, weight.shape.rank() == 1 ? 1 : c.head_dim, rank));
      break;
    case Sharing::head_inputs:
      rows({groups.begin * c.o_lora_rank, groups.end * c.o_lora_rank});
      columns(share(c.heads_per_group(), c.head_dim, inside));
      break;
    case Sharing::group_outputs: {
      const Range part = share(c.o_lora_rank, 1, inside);
      if (group_ranks > 1)
        columns(
            {groups.begin * c.o_lora_rank + part.begin, groups.begin * c.o_lora_rank + part.end});
      else
        columns({groups.begin * c.o_lora_rank, groups.end * c.o_lora_rank});
      break;
    }
    case Sharing::index_heads:
      if (c.index_heads % rank.count == 0)
        rows(share(c.index_heads, weight.dtype == DType::bf16 ? 1 : c.index_head_dim, rank));
      break;
    case Sharing::experts: {
      const Range own = share(c.experts, 1, rank);
      if (weight.expert < own.begin || weight.expert >= own.end) return {};
      break;
    }
    case Sharing::width_rows: rows(share(c.expert_width, 1, rank)); break;
    case Sharing::width_columns: columns(share(c.expert_width, 1, rank)); break;
  }
  return all;
}

}  // namespace

Result<> check_ranks(const Config& config, int64_t ranks) {
  if (ranks >= 1 && can_share(config, ranks)) return {};
  std::vector<int64_t> possible;
  for (int64_t count = 1; count <= config.heads; ++count)
    if (can_share(config, count)) possible.push_back(count);
  return invalid_argument(
      fmt::format("{} ranks cannot share {} heads in {} o-groups; possible are {}", ranks,
                  config.heads, config.o_groups, fmt::join(possible, ", ")));
}

Slice slice_of(const WeightSpec& weight, const Config& config, Rank rank) {
  const bool is_matrix = weight.shape.rank() == 2;
  const Slice stored{0, weight.shape[0], 0, is_matrix ? weight.shape[1] : 1};
  // Experts and what is replicated are taken whole; all other scales are one for 128 x 128.
  const bool is_whole = weight.sharing == Sharing::experts || weight.sharing == Sharing::replicated;
  if (is_whole || !weight.is_scale) return logical_slice(weight, config, rank, stored);
  Slice slice = logical_slice(
      weight, config, rank,
      {0, stored.row_end * Config::kFp8Block, 0, stored.column_end * Config::kFp8Block});
  to_blocks(slice.row_begin, slice.row_end);
  to_blocks(slice.column_begin, slice.column_end);
  return slice;
}

}  // namespace tessera::model::deepseek_v4
