// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/communication_plan.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/reference_data.h"

namespace tessera::model::deepseek_v4 {
namespace {

Config flash() {
  return load_config(reference_folder() / "checkpoint/configs/DeepSeek-V4-Flash.config.json")
      .value();
}

// FlagOS gathers the outputs of the heads of a pair of ranks in bf16, then sums after wo_b in f32
// over as many ranks as there are o-groups (docs/parallel.md has the sources).
TEST(CommunicationPlan, SendsNoMoreThanFlagOS) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const Config c = flash();
  const int64_t ranks = 16, pair = ranks / c.o_groups;
  const double before = static_cast<double>((pair - 1) * c.heads / ranks * c.head_dim * 2);
  const double after = 2.0 * static_cast<double>(c.o_groups - 1) / static_cast<double>(c.o_groups) *
                       static_cast<double>(c.hidden_size) * 4;
  const LayerTraffic ours = layer_traffic(c, {0, ranks}, {});
  EXPECT_EQ(before, 4096);
  EXPECT_EQ(ours.o_group, before / 2);
  EXPECT_EQ(after, 28'672);
  EXPECT_EQ(ours.attention, 30'720);
  EXPECT_LE(ours.o_group + ours.attention, before + after);
}

TEST(CommunicationPlan, ExchangedRowsTakeHalfAtSixteenRanks) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const Config c = flash();
  const LayerTraffic sums = layer_traffic(c, {0, 16}, {});
  const LayerTraffic rows = layer_traffic(c, {0, 16, ExpertExchange::all_to_all}, {});
  EXPECT_EQ(sums.all(), 2048 + 2 * 30'720);
  EXPECT_EQ(rows.attention, 15'360);
  // Six of 256 experts are on 5.2 of 16 ranks, 4.9 of them others.
  EXPECT_NEAR(rows.experts, 45 + 4.9 / 16 * (4096 + 32 + 4 * 4096), 100);
  EXPECT_LT(rows.all(), 0.5 * sums.all());
  EXPECT_EQ(layer_traffic(c, {0, 1}, {}).all(), 0);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
