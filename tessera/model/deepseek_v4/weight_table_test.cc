// SPDX-License-Identifier: Apache-2.0
// The expansion against the published checkpoints' lists of tensors.
#include "tessera/model/deepseek_v4/weight_table.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tessera/base/testing/reference_data.h"
#include "tessera/checkpoint/safetensors_header.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"
#include "tessera/model/deepseek_v4/testing/tensor_list.h"

namespace tessera::model::deepseek_v4 {
namespace {

void expect_reproduces(const std::string& model, int64_t draft_layers, size_t tensors,
                       uint64_t bytes) {
  const Config config =
      load_config(reference_folder() / "checkpoint/configs" / (model + ".config.json")).value();
  const auto listed =
      TensorList(config).read(reference_folder() / "checkpoint" / ("tensors-" + model + ".tsv"));
  ASSERT_EQ(listed.size(), tensors);
  uint64_t total = 0;
  std::set<std::string> seen;
  for (const WeightSpec& spec : expand_weights(config, draft_layers)) {
    ASSERT_TRUE(seen.insert(spec.name).second) << spec.name << " twice";
    const auto found = listed.find(spec.name);
    ASSERT_NE(found, listed.end()) << spec.name << " is not listed";
    EXPECT_EQ(checkpoint::safetensors_name(spec.dtype), found->second.dtype) << spec.name;
    EXPECT_EQ(spec.shape, found->second.shape) << spec.name;
    total += spec.bytes();
  }
  EXPECT_EQ(seen.size(), tensors);
  EXPECT_EQ(total, bytes);
}

TEST(WeightTable, ReproducesFlash) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint");
  expect_reproduces("DeepSeek-V4-Flash", 1, 69'187, 159'609'485'896);
}

TEST(WeightTable, ReproducesPro) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint");
  expect_reproduces("DeepSeek-V4-Pro", 1, 145'116, 864'704'792'696);
}

TEST(WeightTable, Reproduces0731) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint");
  expect_reproduces("DeepSeek-V4-Flash-0731", 3, 72'317, 166'878'536'440);
}

std::map<std::string, WeightSpec> expand(const nlohmann::json& json, int64_t draft_layers) {
  std::map<std::string, WeightSpec> all;
  for (WeightSpec& spec : expand_weights(parse_config(json.dump()).value(), draft_layers))
    all.emplace(spec.name, std::move(spec));
  return all;
}

TEST(WeightTable, BlocksThatDivideNothingAreRoundedUp) {
  const auto all = expand(sample_config(), 0);
  EXPECT_EQ(all.at("layers.0.attn.wq_a.scale").shape, Shape({1, 1}));
  EXPECT_EQ(all.at("layers.0.ffn.experts.5.w2.weight").shape, Shape({64, 48}));
  EXPECT_EQ(all.at("layers.0.ffn.experts.5.w2.scale").shape, Shape({64, 3}));
  EXPECT_TRUE(all.contains("layers.0.ffn.gate.tid2eid"));
  EXPECT_FALSE(all.contains("layers.0.ffn.gate.bias"));
  EXPECT_EQ(all.at("layers.1.attn.compressor.ape").shape, Shape({4, 64}));
  EXPECT_EQ(all.at("layers.2.attn.compressor.ape").shape, Shape({128, 32}));
  EXPECT_FALSE(all.contains("layers.2.attn.indexer.wq_b.weight"));
  EXPECT_FALSE(all.contains("mtp.0.e_proj.weight"));
  EXPECT_EQ(all.at("layers.3.attn.wo_a.weight").sharing, Sharing::head_inputs);
}

TEST(WeightTable, Fp8ExpertsHaveSquareBlocks) {
  nlohmann::json json = sample_config();
  json["expert_dtype"] = "fp8";
  json["moe_intermediate_size"] = 200;
  const auto all = expand(json, 1);
  EXPECT_EQ(all.at("layers.0.ffn.experts.0.w1.weight").dtype, DType::f8e4m3);
  EXPECT_EQ(all.at("layers.0.ffn.experts.0.w1.weight").shape, Shape({200, 64}));
  EXPECT_EQ(all.at("mtp.0.ffn.experts.0.w1.scale").shape, Shape({2, 1}));
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
