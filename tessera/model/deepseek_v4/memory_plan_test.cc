// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/memory_plan.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/reference_data.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"

namespace tessera::model::deepseek_v4 {
namespace {

Config published(const std::string& model) {
  return load_config(reference_folder() / "checkpoint/configs" / (model + ".config.json")).value();
}

TEST(MemoryPlan, OneRankMapsTheWholeTrunk) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const Config flash = published("DeepSeek-V4-Flash");
  const auto weights = expand_weights(flash, 1);
  uint64_t draft = 0;
  for (const WeightSpec& weight : weights) draft += weight.is_draft ? weight.bytes() : 0;
  const MemoryPlan all = plan_weights(weights, flash, 1, {.with_draft = true});
  EXPECT_EQ(all.mapped, 159'609'485'896u);
  EXPECT_EQ(all.copied, 0u);
  EXPECT_EQ(plan_weights(weights, flash, 1, {}).mapped, 159'609'485'896u - draft);
  const Config later = published("DeepSeek-V4-Flash-0731");
  EXPECT_EQ(plan_weights(expand_weights(later, 3), later, 1, {.with_draft = true}).mapped,
            159'609'485'896u - draft);
  // 13 billion active parameters, mostly half a byte each.
  EXPECT_GT(all.read_per_token, 6'500'000'000u);
  EXPECT_LT(all.read_per_token, 13'000'000'000u);
}

TEST(MemoryPlan, RanksShareWhatCanBeShared) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const Config flash = published("DeepSeek-V4-Flash");
  const auto weights = expand_weights(flash, 1);
  uint64_t replicated = 0, all = 0;
  for (const WeightSpec& weight : weights) {
    if (weight.is_draft) continue;
    all += weight.bytes();
    replicated += weight.sharing == Sharing::replicated ? weight.bytes() : 0;
  }
  for (const int64_t ranks : {2, 8, 16, 64}) {
    const MemoryPlan plan = plan_weights(weights, flash, ranks, {});
    const uint64_t least = replicated + (all - replicated) / static_cast<uint64_t>(ranks);
    EXPECT_GE(plan.mapped + plan.copied, least) << ranks;
    EXPECT_LT(plan.mapped + plan.copied, least + (2 << 20))
        << ranks;  // scale blocks that two ranks hold
  }
}

TEST(MemoryPlan, RescaledExpertsAreCopies) {
  nlohmann::json json = sample_config();
  json["moe_intermediate_size"] = 160;
  const Config config = parse_config(json.dump()).value();
  const auto weights = expand_weights(config, 0);
  const MemoryPlan plan = plan_weights(weights, config, 1, {.rescales_experts = true});
  // w1 and w3 are [160, 64], w2 is [64, 160]; scales of 2 x 1 and 1 x 2 blocks.
  EXPECT_EQ(plan.copied, 4u * 6 * 3 * (160 * 64 + 2));
  EXPECT_EQ(plan.mapped + 4 * 6 * 3 * (160 * 64 / 2 + 160 * 64 / 32),
            plan_weights(weights, config, 1, {}).mapped);
  EXPECT_EQ(plan.anonymous(), plan.copied);
  json["expert_dtype"] = "fp8";
  const Config base = parse_config(json.dump()).value();
  EXPECT_EQ(plan_weights(expand_weights(base, 0), base, 1, {.rescales_experts = true}).copied, 0u);
}

TEST(MemoryPlan, FitsOrStreamsOrNot) {
  const MemoryPlan plan{.mapped = 100, .copied = 10, .working = {{"caches", 20}, {"tables", 5}}};
  EXPECT_EQ(plan.anonymous(), 35u);
  EXPECT_EQ(plan.all(), 135u);
  EXPECT_EQ(fit_into(plan, 135), Fit::resident);
  EXPECT_EQ(fit_into(plan, 134), Fit::streamed);
  EXPECT_EQ(fit_into(plan, 35), Fit::streamed);
  EXPECT_EQ(fit_into(plan, 34), Fit::no);
}

TEST(MemoryPlan, TheLargestContextIsTheLastThatFits) {
  const auto plan = [](int64_t context) -> Result<MemoryPlan> {
    return MemoryPlan{.mapped = 1000, .working = {{"caches", static_cast<uint64_t>(context)}}};
  };
  EXPECT_EQ(largest_context(plan, 1000 + 640, 4096).value(), 640);
  EXPECT_EQ(largest_context(plan, 1000 + 639, 4096).value(), 512);
  EXPECT_EQ(largest_context(plan, 100'000, 4096).value(), 4096);
  EXPECT_EQ(largest_context(plan, 1000, 4096).value(), std::nullopt);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
