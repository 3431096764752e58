// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/sharding.h"

#include <gtest/gtest.h>

#include <map>

#include "tessera/base/testing/reference_data.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"

namespace tessera::model::deepseek_v4 {
namespace {

Config config_of(const nlohmann::json& changes) {
  nlohmann::json json = sample_config();
  json.merge_patch(changes);
  return parse_config(json.dump()).value();
}

/// 16 heads in 4 groups.
Config wide() {
  return config_of({{"num_attention_heads", 16},
                    {"o_groups", 4},
                    {"o_lora_rank", 256},
                    {"head_dim", 128},
                    {"index_n_heads", 4},
                    {"n_routed_experts", 10},
                    {"moe_intermediate_size", 288},
                    {"vocab_size", 101}});
}

/// How often each element of a tensor is held by the ranks together.
std::vector<int> cover(const WeightSpec& weight, const Config& config, int64_t ranks) {
  const int64_t columns = weight.shape.rank() == 2 ? weight.shape[1] : 1;
  std::vector<int> count(static_cast<size_t>(weight.shape.numel()));
  for (int64_t r = 0; r < ranks; ++r) {
    const Slice slice = slice_of(weight, config, {r, ranks});
    EXPECT_LE(slice.row_end, weight.shape[0]);
    EXPECT_LE(slice.column_end, columns);
    for (int64_t i = slice.row_begin; i < slice.row_end; ++i)
      for (int64_t j = slice.column_begin; j < slice.column_end; ++j)
        ++count[static_cast<size_t>(i * columns + j)];
  }
  return count;
}

TEST(Sharding, WhatIsSplitIsHeldOnce) {
  const Config config = wide();
  for (const int64_t ranks : {1, 2, 4, 8, 16}) {
    ASSERT_TRUE(check_ranks(config, ranks).ok());
    for (const WeightSpec& weight : expand_weights(config, 1)) {
      const bool replicated =
          weight.sharing == Sharing::replicated ||
          (weight.sharing == Sharing::index_heads && config.index_heads % ranks != 0);
      for (const int held : cover(weight, config, ranks)) {
        if (weight.is_scale && !replicated)
          ASSERT_GE(held, 1) << weight.name << " at " << ranks;  // a block of two ranks is in both
        else
          ASSERT_EQ(held, replicated ? ranks : 1) << weight.name << " at " << ranks;
      }
    }
  }
}

/// The rank that holds a head's queries must hold the columns of wo_a that its output meets.
TEST(Sharding, HeadsMeetTheirColumns) {
  const Config c = wide();
  std::map<std::string, WeightSpec> all;
  for (WeightSpec& weight : expand_weights(c, 0)) all.emplace(weight.name, weight);
  for (const int64_t ranks : {2, 4, 8, 16})
    for (int64_t r = 0; r < ranks; ++r) {
      const Slice q = slice_of(all.at("layers.0.attn.wq_b.weight"), c, {r, ranks});
      const Slice a = slice_of(all.at("layers.0.attn.wo_a.weight"), c, {r, ranks});
      const Slice b = slice_of(all.at("layers.0.attn.wo_b.weight"), c, {r, ranks});
      const int64_t first_head = q.row_begin / c.head_dim, heads = q.rows() / c.head_dim;
      EXPECT_EQ(heads, c.heads / ranks);
      const int64_t first_group = first_head / c.heads_per_group();
      EXPECT_EQ(a.row_begin, first_group * c.o_lora_rank);
      EXPECT_EQ(a.column_begin, first_head % c.heads_per_group() * c.head_dim);
      EXPECT_EQ(a.rows() / c.o_lora_rank * a.columns(), q.rows());
      EXPECT_GE(b.column_begin, a.row_begin);
      EXPECT_LE(b.column_end, a.row_end);
      EXPECT_EQ(b.columns() * ranks, c.o_groups * c.o_lora_rank);
    }
}

TEST(Sharding, FlashAtSixteenStoresNothingTwice) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const Config flash =
      load_config(reference_folder() / "checkpoint/configs/DeepSeek-V4-Flash.config.json").value();
  const auto weights = expand_weights(flash, 0);
  // The two matrices of the output projection in layer 0, or in all layers, of some ranks of 16.
  const auto bytes = [&](std::string_view layer, int64_t first, int64_t last, int64_t ranks) {
    uint64_t sum = 0;
    for (const WeightSpec& weight : weights)
      if (weight.name.starts_with(layer) && (weight.name.ends_with(".attn.wo_a.weight") ||
                                             weight.name.ends_with(".attn.wo_b.weight")))
        for (int64_t r = first; r < last; ++r)
          sum += slice_of(weight, flash, {r, ranks}).bytes(weight.dtype);
    return sum;
  };
  for (int64_t r = 0; r < 16; ++r) EXPECT_EQ(bytes("layers.0.", r, r + 1, 16), 4'194'304u);
  EXPECT_EQ(bytes("layers.0.", 0, 1, 1), 67'108'864u);
  EXPECT_EQ(bytes("layers.", 0, 16, 16), bytes("layers.", 0, 1, 1));
}

TEST(Sharding, WhereRowsAreExchangedTheSharedExpertIsWhole) {
  const Config c = wide();
  for (const WeightSpec& weight : expand_weights(c, 0)) {
    const Rank rank{5, 16, ExpertExchange::all_to_all}, usual{5, 16};
    const Slice slice = slice_of(weight, c, rank), other = slice_of(weight, c, usual);
    if (weight.name.find("shared_experts") == std::string::npos)
      EXPECT_EQ(slice.bytes(weight.dtype), other.bytes(weight.dtype)) << weight.name;
    else
      EXPECT_EQ(slice.bytes(weight.dtype), weight.bytes()) << weight.name;
  }
}

TEST(Sharding, ImpossibleCountsAreRefused) {
  EXPECT_EQ(check_ranks(wide(), 3).error().message,
            "3 ranks cannot share 16 heads in 4 o-groups; possible are 1, 2, 4, 8, 16");
  EXPECT_EQ(check_ranks(wide(), 0).error().code, ErrorCode::invalid_argument);
  EXPECT_FALSE(check_ranks(wide(), 32).ok());
  // 12 heads in 4 groups: 6 ranks would cut groups unevenly.
  EXPECT_EQ(
      check_ranks(config_of({{"num_attention_heads", 12}, {"o_groups", 4}, {"head_dim", 128}}), 6)
          .error()
          .message,
      "6 ranks cannot share 12 heads in 4 o-groups; possible are 1, 2, 4, 12");
}

TEST(Sharding, TheSharedExpertIsCutInBlocksOrInsideOne) {
  const Config c = wide();  // width 288: three blocks
  const auto shares = [&](int64_t ranks) {
    std::vector<std::pair<int64_t, int64_t>> all;
    for (int64_t r = 0; r < ranks; ++r) {
      const Share own = width_share(c, {r, ranks});
      all.emplace_back(own.begin, own.end);
    }
    return all;
  };
  using Shares = std::vector<std::pair<int64_t, int64_t>>;
  EXPECT_EQ(shares(2), (Shares{{0, 128}, {128, 288}}));
  EXPECT_EQ(shares(4), (Shares{{0, 0}, {0, 128}, {128, 256}, {256, 288}}));
  for (const auto& [begin, end] : shares(16))
    EXPECT_TRUE(begin == end || begin / 128 == (end - 1) / 128) << begin << " to " << end;
}

TEST(Sharding, HeadsThatWouldBeginInAScaleBlockAreRefused) {
  // Heads of 96 rows: the second begins in one block and ends in the next.
  EXPECT_FALSE(
      check_ranks(config_of({{"num_attention_heads", 4}, {"o_groups", 2}, {"head_dim", 96}}), 4)
          .ok());
}

TEST(Sharding, ShardsNameTheTensorsThatAreNotWhole) {
  const Config c = wide();
  const Shards shards(c, {3, 8});
  ASSERT_NE(shards.find("layers.0.attn.wq_b.weight"), nullptr);
  EXPECT_TRUE(shards.find("layers.0.attn.wq_b.weight")->is_rows);
  EXPECT_FALSE(shards.find("layers.0.attn.wo_a.weight")->is_rows);
  EXPECT_EQ(shards.find("layers.0.attn.wq_a.weight"), nullptr);
  EXPECT_TRUE(shards.is_elsewhere("layers.0.ffn.experts.0.w1.weight"));
  EXPECT_FALSE(shards.is_elsewhere("layers.0.ffn.experts.3.w1.weight"));  // 10 experts: [3, 5)
  EXPECT_FALSE(Shards().is_elsewhere("layers.0.ffn.experts.0.w1.weight"));
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
