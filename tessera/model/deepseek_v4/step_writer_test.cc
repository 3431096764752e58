// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/step_writer.h"

#include <gtest/gtest.h>

#include "tessera/model/deepseek_v4/made_weights.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"

namespace tessera::model::deepseek_v4 {
namespace {

// A captured step's temporaries do not share memory, so one of these may be the largest of all.
TEST(StepWriter, TheArenaHoldsEveryCapturedStep) {
  nlohmann::json json = sample_config();
  for (const char* size : {"hidden_size", "head_dim", "q_lora_rank", "o_lora_rank",
                           "index_head_dim", "moe_intermediate_size"})
    json[size] = 128;  // there are operators for whole blocks
  json["num_attention_heads"] = json["o_groups"] = 6;
  const Config config = parse_config(json.dump()).value();
  const Planning planning{runtime::Capabilities{}};
  for (const int64_t count : {1, 2, 3, 6}) {
    const Rank rank{0, count, ExpertExchange::all_to_all};
    for (const int64_t largest : {1, 40, 64, 128}) {
      const StepWriter writer(config, {.context = 1024, .largest_step = largest, .rank = rank});
      WeightShapes source(config, Precision::native, rank);
      const Weights weights = assemble_weights(config, source, false, rank).value();
      const Ranks ranks{.rank = rank};
      const int64_t planned = writer.arena_bytes(weights, {}, ranks, planning).value();
      for (const StepKey& key : writer.all_sizes()) {
        ProgramBuilder builder;
        writer.write(builder, weights, key, {}, ranks);
        EXPECT_LE(builder.arena_bytes(planning).value(), planned)
            << key.shape.rows << " rows, " << count << " ranks, steps of " << largest;
      }
    }
  }
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
