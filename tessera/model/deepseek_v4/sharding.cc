// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/sharding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace tessera::model::deepseek_v4 {
namespace {

constexpr std::string_view kExpertsWord = ".experts.";

/// The rank's share of `count` things, each `unit` rows or columns wide.
Share share(int64_t count, int64_t unit, Rank rank) {
  return {rank.number * count / rank.count * unit, (rank.number + 1) * count / rank.count * unit};
}

/// Whether [begin, end) begins where a scale block does or lies in one.
bool fits_blocks(Share share) {
  return share.begin % Config::kFp8Block == 0 ||
         share.begin / Config::kFp8Block == (share.end - 1) / Config::kFp8Block;
}

bool can_share(const Config& config, int64_t ranks) {
  if (config.heads % ranks != 0) return false;
  const int64_t of_group = ranks_per_group(config, ranks);
  if (config.o_groups % ranks != 0 &&
      (ranks % config.o_groups != 0 || config.o_lora_rank % of_group != 0))
    return false;
  // A product cannot begin in the middle of a scale block and go on into the next.
  for (int64_t r = 0; r < ranks; ++r)
    if (!fits_blocks(share(config.heads, config.head_dim, {r, ranks})) ||
        !fits_blocks(group_output_share(config, {r, ranks})) ||
        !fits_blocks(share(config.heads_per_group(), config.head_dim, {r % of_group, of_group})))
      return false;
  return true;
}

/// Scale blocks that a range of rows or columns touches.
void to_blocks(int64_t& begin, int64_t& end) {
  const bool is_empty = begin == end;
  begin /= Config::kFp8Block;
  end = is_empty ? begin : (end + Config::kFp8Block - 1) / Config::kFp8Block;
}

/// Of a weight itself, in its logical shape [out, in].
Slice logical_slice(const WeightSpec& weight, const Config& c, Rank rank, Slice all) {
  const auto rows = [&](Share range) {
    all.row_begin = range.begin;
    all.row_end = range.end;
  };
  const auto columns = [&](Share range) {
    all.column_begin = range.begin;
    all.column_end = range.end;
  };
  const int64_t group_ranks = ranks_per_group(c, rank.count);
  const Rank group{rank.number / group_ranks, rank.count / group_ranks};
  const Rank inside{rank.number % group_ranks, group_ranks};
  const Share groups = share(c.o_groups, 1, group);
  // wq_b and its scales have many rows a head.
  const bool is_row_a_head = !weight.is_scale && weight.shape[0] == c.index_heads;
  switch (weight.sharing) {
    case Sharing::replicated: break;
    case Sharing::vocabulary: rows(vocabulary_share(c, rank)); break;
    case Sharing::heads:
      rows(share(c.heads, weight.shape.rank() == 1 ? 1 : c.head_dim, rank));
      break;
    case Sharing::head_inputs:
      rows({groups.begin * c.o_lora_rank, groups.end * c.o_lora_rank});
      columns(share(c.heads_per_group(), c.head_dim, inside));
      break;
    case Sharing::group_outputs: columns(group_output_share(c, rank)); break;
    case Sharing::index_heads:
      if (c.index_heads % rank.count == 0)
        rows(share(c.index_heads, is_row_a_head ? 1 : c.index_head_dim, rank));
      break;
    case Sharing::experts: {
      const Share own = expert_share(c, rank);
      if (weight.expert < own.begin || weight.expert >= own.end) return {};
      break;
    }
    case Sharing::width_rows: rows(width_share(c, rank)); break;
    case Sharing::width_columns: columns(width_share(c, rank)); break;
  }
  return all;
}

}  // namespace

Share vocabulary_share(const Config& config, Rank rank) {
  return share(config.vocab_size, 1, rank);
}

Share expert_share(const Config& config, Rank rank) { return share(config.experts, 1, rank); }

Share width_share(const Config& config, Rank rank) {
  if (rank.experts == ExpertExchange::all_to_all) return {0, config.expert_width};
  const auto units = [&](int64_t unit) { return (config.expert_width + unit - 1) / unit; };
  int64_t unit = Config::kFp8Block;
  if (units(unit) < rank.count)
    while (unit > 1 && units(unit / 2) <= rank.count) unit /= 2;
  const Share own = share(units(unit), unit, rank);
  return {std::min(own.begin, config.expert_width), std::min(own.end, config.expert_width)};
}

int64_t ranks_per_group(const Config& config, int64_t ranks) {
  return std::max<int64_t>(1, ranks / config.o_groups);
}

Share group_output_share(const Config& config, Rank rank) {
  return share(config.o_groups * config.o_lora_rank, 1, rank);
}

bool is_rows(const Slice& slice, const WeightSpec& weight) {
  return weight.shape.rank() != 2 || slice.columns() == weight.shape[1];
}

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

Shards::Shards(const Config& config, Rank rank)
    : rank_(rank), experts_(expert_share(config, rank)) {
  if (!any()) return;
  Config few = config;  // experts are whole, and a real model has ten thousands of their tensors
  few.experts = 0;
  for (const WeightSpec& weight : expand_weights(few, config.draft_layers)) {
    if (weight.sharing == Sharing::replicated) continue;
    const Slice slice = slice_of(weight, config, rank);
    parts_.emplace(weight.name, Part{slice, deepseek_v4::is_rows(slice, weight)});
  }
}

const Shards::Part* Shards::find(std::string_view name) const {
  const auto found = parts_.find(name);
  return found == parts_.end() ? nullptr : &found->second;
}

bool is_of_experts(std::string_view name) {
  return name.find(kExpertsWord) != std::string_view::npos;
}

bool Shards::is_elsewhere(std::string_view name) const {
  if (!any() || !is_of_experts(name)) return false;
  const size_t at = name.find(kExpertsWord);
  int64_t number = 0;
  const auto [stop, error] =
      std::from_chars(name.data() + at + kExpertsWord.size(), name.data() + name.size(), number);
  if (error != std::errc()) return false;  // a stack of all experts
  return number < experts_.begin || number >= experts_.end;
}

}  // namespace tessera::model::deepseek_v4
