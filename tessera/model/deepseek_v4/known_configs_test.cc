// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/known_configs.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/reference_data.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {
namespace {

void expect_equal(const Config& ours, const std::string& file) {
  const auto parsed = parse_config(read_reference("checkpoint/configs/" + file));
  ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
  ASSERT_EQ(ours.layers.size(), parsed->layers.size());
  for (size_t i = 0; i < ours.layers.size(); ++i) {
    EXPECT_EQ(ours.layers[i].ratio, parsed->layers[i].ratio) << i;
    EXPECT_EQ(ours.layers[i].hash_routed, parsed->layers[i].hash_routed) << i;
  }
  for (const auto field :
       {&Config::vocab_size, &Config::hidden_size, &Config::draft_layers, &Config::heads,
        &Config::head_dim, &Config::rope_dim, &Config::q_lora_rank, &Config::o_groups,
        &Config::o_lora_rank, &Config::window, &Config::index_heads, &Config::index_head_dim,
        &Config::index_top_k, &Config::experts, &Config::experts_per_token, &Config::expert_width,
        &Config::sinkhorn_iterations, &Config::yarn_original_length, &Config::max_positions})
    EXPECT_EQ(ours.*field, (*parsed).*field);
  for (const auto field : {&Config::route_scale, &Config::swiglu_limit, &Config::hc_eps,
                           &Config::norm_eps, &Config::rope_theta, &Config::compress_rope_theta,
                           &Config::yarn_factor, &Config::yarn_beta_fast, &Config::yarn_beta_slow})
    EXPECT_EQ(ours.*field, (*parsed).*field);
}

TEST(KnownConfigs, AreThePublishedOnes) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  expect_equal(flash_config(), "DeepSeek-V4-Flash.config.json");
  expect_equal(pro_config(), "DeepSeek-V4-Pro.config.json");
}

TEST(KnownConfigs, FewLayersHoldBothCompressedKinds) {
  const Config two = shortened(flash_config(), 2);
  ASSERT_EQ(two.layers.size(), 2u);
  EXPECT_EQ(two.layers[0].ratio, 4);
  EXPECT_EQ(two.layers[1].ratio, 128);
  EXPECT_EQ(two.draft_layers, 0);
  EXPECT_EQ(shortened(flash_config(), 42).layers.front().ratio, 0);
  EXPECT_EQ(shortened(pro_config(), 99).layers.size(), 61u);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
