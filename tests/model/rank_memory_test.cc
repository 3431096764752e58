// SPDX-License-Identifier: Apache-2.0
// mpirun -n N model.rank_memory_test: every rank, a process of its own, holds in memory what its
// plan says: the growth of its anonymous pages, by the kernel's count, against weights, caches,
// activations, logits and tables.
#include <fstream>

#include "tessera/base/testing/expect_result.h"
#include "tessera/comm/mpi_job.h"
#include "tessera/model/deepseek_v4/made_weights.h"
#include "tessera/model/deepseek_v4/memory_plan.h"
#include "tests/model/model_fixture.h"
#include "tests/reference_model/random_checkpoint.h"

namespace tessera::model_test {

comm::Communicator* g_world = nullptr;

namespace {

using model::deepseek_v4::Config;
using model::deepseek_v4::ExpertExchange;
using model::deepseek_v4::RandomWeights;
using model::deepseek_v4::Rank;

/// Wide enough that pages and pages of malloc's do not count: about 430 MB a rank.
Config wide_config() {
  nlohmann::json json = reference_model::small_config();
  json["vocab_size"] = 8192;
  json["hidden_size"] = 1024;
  json["num_attention_heads"] = 16;
  json["o_groups"] = 8;
  json["head_dim"] = 512;
  json["moe_intermediate_size"] = 1024;
  json["n_routed_experts"] = 18;
  json["num_hidden_layers"] = 3;
  json["num_hash_layers"] = 1;
  json["compress_ratios"] = {0, 4, 128, 0};
  return model::deepseek_v4::parse_config(json.dump()).value();
}

int64_t anonymous_bytes() {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;)
    if (int64_t kilobytes = 0; word == "RssAnon:" && file >> kilobytes) return kilobytes * 1024;
  return 0;
}

/// What the rank's plan says but for the program itself.
int64_t planned_bytes(const Config& config, const ModelOptions& options,
                      const runtime::Capabilities& capabilities) {
  const auto weights = model::deepseek_v4::plan_rank(model::deepseek_v4::expand_weights(config, 0),
                                                     config, options.rank, {});
  return static_cast<int64_t>(weights.mapped + weights.copied) +
         Model::plan(config, capabilities, options).value().total();
}

class RankMemoryTest : public testing::TestWithParam<ExpertExchange> {};

TEST_P(RankMemoryTest, GrowsByWhatIsPlanned) {
  const Config config = wide_config();
  Machine machine(1);
  ModelOptions options{.context = 1048576, .largest_step = 256};
  options.rank = {g_world->rank(), g_world->size(), GetParam()};
  const auto source = [&](Rank rank) {
    return std::make_shared<RandomWeights>(config, options.precision, machine.library().device(),
                                           rank);
  };
  std::vector<int64_t> before;  // each model is made
  const auto load = [&](const ModelOptions& asked) {
    before.push_back(anonymous_bytes());
    return Model::create(source, config, machine.library(), asked, {g_world, false});
  };
  if (g_world->rank() != 0) {
    ASSERT_OK(model::deepseek_v4::follow(*g_world, load));
  } else {
    const std::vector<int32_t> prompt(256, 7);
    // The first model brings kernels, and their compiler, into memory.
    for (const bool is_last : {false, true}) {
      auto model = load(options);
      ASSERT_OK(model);
      ASSERT_OK((*model)->pretend(options.context - 256));
      step(**model, options.context - 256, prompt);
      if (is_last) ASSERT_OK(load({.context = 128, .largest_step = 8}));
    }
    ASSERT_OK(model::deepseek_v4::send_order(*g_world, {}));
  }
  ASSERT_EQ(before.size(), 3u);
  const auto held = static_cast<double>(before[2] - before[1]);
  const auto planned = static_cast<double>(
      planned_bytes(config, options, machine.library().device().info().capabilities));
  EXPECT_NEAR(held, planned, 0.02 * planned) << "rank " << g_world->rank();
  fmt::print("rank {}: {:.1f} MB held, {:.1f} MB planned ({:+.2f} %)\n", g_world->rank(),
             held / 1e6, planned / 1e6, 100 * (held / planned - 1));
}

INSTANTIATE_TEST_SUITE_P(Exchanges, RankMemoryTest,
                         testing::Values(ExpertExchange::all_reduce, ExpertExchange::all_to_all));

}  // namespace
}  // namespace tessera::model_test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const auto job = tessera::comm::MpiJob::join(std::chrono::minutes(4));
  if (!job.ok()) return fmt::print(stderr, "{}\n", job.error().to_string()), 77;
  tessera::model_test::g_world = &(*job)->world();
  const int status = RUN_ALL_TESTS();
  if (status != 0) (*job)->end(status);
  return status;
}
