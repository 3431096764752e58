// SPDX-License-Identifier: Apache-2.0
// A model spread over ranks computes what one rank computes.
#include "tests/model/parallel_fixture.h"

#include <cmath>
#include <fstream>
#include <map>
#include <mutex>
#include <numeric>
#include <tuple>

#include "tessera/model/deepseek_v4/communication_plan.h"
#include "tessera/model/deepseek_v4/memory_plan.h"
#include "tests/reference_model/random_checkpoint.h"

namespace tessera::model_test {
namespace {

using model::deepseek_v4::ExpertExchange;

/// 16 heads in 8 groups, so that 16 ranks are two a group; 6 experts and a shared expert of width
/// 128: some ranks have none of the former and all share one block of the latter.
nlohmann::json many_ranks() {
  nlohmann::json json = reference_model::small_config();
  json["num_attention_heads"] = 16;
  json["o_groups"] = 8;
  json["head_dim"] = 128;
  json["o_lora_rank"] = 128;
  json["n_routed_experts"] = 6;
  json["vocab_size"] = 101;
  // One layer of each kind.
  json["num_hidden_layers"] = 3;
  json["num_hash_layers"] = 1;
  json["compress_ratios"] = {0, 4, 128, 0};
  return json;
}

std::vector<int32_t> prompt_of(int length, int vocabulary) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back((i * 37 + 11) % vocabulary);
  return tokens;
}

/// Logits of the last prompt token and of greedy steps; their tokens.
struct Trace {
  Rows logits;
  std::vector<int32_t> tokens;
};

int32_t likeliest(const Rows& rows, int64_t row) {
  const auto first = rows.values.begin() + row * rows.cols;
  return static_cast<int32_t>(std::max_element(first, first + rows.cols) - first);
}

/// Greedy steps, or those of `forced` tokens.
Trace trace(Model& model, const std::vector<int32_t>& prompt, int steps,
            const std::vector<int32_t>& forced = {}) {
  Trace all;
  all.logits = prefill(model, prompt, 64, false);
  for (int i = 0; i < steps; ++i) {
    const int32_t own = likeliest(all.logits, all.logits.rows - 1);
    all.tokens.push_back(own);
    const int32_t next = forced.empty() ? own : forced[static_cast<size_t>(i)];
    all.logits.append(step(model, std::ssize(prompt) + i, std::span(&next, 1)));
  }
  return all;
}

double largest_difference(const Rows& a, const Rows& b) {
  double most = 0;
  for (size_t i = 0; i < a.values.size(); ++i)
    most = std::max(most, static_cast<double>(std::abs(a.values[i] - b.values[i])));
  return most;
}

/// Of each row of `a` with that of `b`.
std::vector<double> cosines(const Rows& a, const Rows& b) {
  std::vector<double> all;
  for (int64_t r = 0; r < a.rows; ++r) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t c = 0; c < a.cols; ++c) {
      const double x = a[r][static_cast<size_t>(c)], y = b[r][static_cast<size_t>(c)];
      ab += x * y;
      aa += x * x;
      bb += y * y;
    }
    all.push_back(ab / std::sqrt(aa * bb));
  }
  return all;
}

/// How the ranks of a run reach experts, and whether rank 0 chooses for all.
struct Way {
  bool differ = false;
  ExpertExchange experts = ExpertExchange::all_reduce;
};

class ParallelTest : public testing::Test {
 protected:
  static constexpr int kSteps = 6;

  void expect_equal(const std::filesystem::path& folder, int ranks, int length, int steps,
                    const Way& way = {}) {
    ModelOptions options{.precision = Precision::fp32, .context = 512, .largest_step = 64};
    const auto alone = Machine::shared().load(folder, options);
    const auto prompt = prompt_of(length, static_cast<int>(alone->config().vocab_size));
    const Trace want = trace(*alone, prompt, steps);
    options.rank.experts = way.experts;
    run_parallel({folder, ranks, options, way.differ}, [&](Model& model) {
      const Trace got = trace(model, prompt, steps);
      EXPECT_LE(largest_difference(got.logits, want.logits), 1e-4) << ranks << " ranks";
      EXPECT_EQ(got.tokens, want.tokens) << ranks << " ranks";
    });
  }
};

TEST_F(ParallelTest, FlashNanoInFp32) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  for (const int ranks : {2, 4, 8})
    expect_equal(reference_folder() / "goldens/flash-nano", ranks, 70, kSteps);
}

TEST_F(ParallelTest, SixteenRanksOfEightGroups) {
  const TemporaryFolder folder;
  ASSERT_TRUE(reference_model::write_random_checkpoint(many_ranks(), folder.path(), 3).ok());
  expect_equal(folder.path(), 16, 40, 2);
}

TEST_F(ParallelTest, RanksThatDifferLetRankZeroChoose) {
  const TemporaryFolder folder;
  ASSERT_TRUE(reference_model::write_random_checkpoint(many_ranks(), folder.path(), 3).ok());
  expect_equal(folder.path(), 4, 40, 2, {.differ = true});
}

constexpr ExpertExchange kAllToAll = ExpertExchange::all_to_all;

TEST_F(ParallelTest, RowsAreSentToTheRanksOfTheirExperts) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  for (const int ranks : {2, 8})
    expect_equal(reference_folder() / "goldens/flash-nano", ranks, 70, kSteps,
                 {.experts = kAllToAll});
}

// Ten ranks have no expert; 13 and 17 tokens are fewer than the ranks or no whole shares of them.
TEST_F(ParallelTest, RanksWithoutExpertsExchangeRows) {
  const TemporaryFolder folder;
  ASSERT_TRUE(reference_model::write_random_checkpoint(many_ranks(), folder.path(), 3).ok());
  for (const int length : {13, 17})
    expect_equal(folder.path(), 16, length, 2, {.experts = kAllToAll});
  expect_equal(folder.path(), 4, 17, 2, {.differ = true, .experts = kAllToAll});
}

// Whether a step has rows for all ranks or not, the parts of a sum are added in the same order.
TEST_F(ParallelTest, ExchangedRowsDoNotDependOnTheChunking) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  ModelOptions options{.context = 512, .largest_step = 64, .deterministic = true};
  options.rank.experts = kAllToAll;
  const auto prompt = prompt_of(23, 512);
  run_parallel({reference_folder() / "goldens/flash-nano", 4, options}, [&](Model& model) {
    const Rows whole = prefill(model, prompt, 64, true);
    for (const int64_t chunk : {1, 3, 16})
      EXPECT_EQ(prefill(model, prompt, chunk, true).values, whole.values) << chunk;
  });
}

// What rank 0 counts for a long step is what the sizes say, and exchanged rows are fewer bytes.
TEST_F(ParallelTest, WhatIsSentIsWhatIsPlanned) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const auto folder = reference_folder() / "goldens/flash-nano";
  const auto config = model::deepseek_v4::load_config(folder).value();
  constexpr int kRanks = 8, kRows = 64;
  const auto layers = static_cast<double>(config.layers.size());
  double all[2] = {};
  for (const ExpertExchange experts : {ExpertExchange::all_reduce, kAllToAll}) {
    ModelOptions options{.context = 512, .largest_step = kRows};
    options.rank.experts = experts;
    std::map<std::string, double> sent;  // for a token and layer
    run_parallel({folder, kRanks, options}, [&](Model& model) {
      prefill(model, prompt_of(kRows, 512), kRows, false);
      for (const auto& section : model.traffic())
        sent[section.name] += static_cast<double>(section.traffic.bytes) / kRows / layers;
    });
    const auto planned = model::deepseek_v4::layer_traffic(config, {0, kRanks, experts}, {});
    EXPECT_EQ(sent["attention sum"], planned.attention);
    if (experts == kAllToAll) {
      // Once a step the stream of all rows is gathered, too.
      const double stream = 7.0 / 8 * 4 * static_cast<double>(config.hidden_size) * 2 / layers;
      EXPECT_NEAR(sent["row gather"], planned.gather + stream, 1e-6);
      EXPECT_NEAR(sent["expert dispatch"] + sent["expert combine"], planned.experts,
                  0.15 * planned.experts);
    } else {
      EXPECT_EQ(sent["expert sum"], planned.experts);
    }
    for (const auto& [name, bytes] : sent)
      if (name != "logits" && name != "embedding") all[experts == kAllToAll] += bytes;
  }
  EXPECT_LT(all[1], all[0] * 2 / 3);
}

/// Gives every expert the same score but for its bias: expert 0 first, then a near tie of experts
/// `second` and `third`.
void make_near_tie(const std::filesystem::path& folder, int64_t second, int64_t third) {
  const auto opened = checkpoint::Checkpoint::open(folder).value();
  const auto write = [&](const checkpoint::Tensor& tensor, size_t at, const void* data,
                         size_t size) {
    const auto& shard = opened.shards()[static_cast<size_t>(tensor.shard)];
    std::fstream file(shard.path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(tensor.data.data() - shard.file.bytes().data() + static_cast<ptrdiff_t>(at));
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  };
  for (const auto& tensor : opened.tensors()) {
    if (tensor.name.ends_with(".ffn.gate.weight")) {
      const size_t row = tensor.data.size() / static_cast<size_t>(tensor.shape[0]);
      const std::vector<std::byte> first(tensor.data.begin(),
                                         tensor.data.begin() + static_cast<ptrdiff_t>(row));
      for (int64_t e = 1; e < tensor.shape[0]; ++e)
        write(tensor, static_cast<size_t>(e) * row, first.data(), row);
    } else if (tensor.name.ends_with(".ffn.gate.bias")) {
      std::vector<float> bias(static_cast<size_t>(tensor.shape[0]), -1.0f);
      bias[0] = 1;
      bias[static_cast<size_t>(second)] = 0x1.00001p-1f;
      bias[static_cast<size_t>(third)] = 0x1p-1f;
      write(tensor, 0, bias.data(), bias.size() * sizeof(float));
    }
  }
}

// Rank 1 rounds a near tie the other way, as another chip might. Expert 1 is rank 0's and expert 5
// rank 1's: each would take its own, and the sum would have both.
TEST_F(ParallelTest, NearTiesAreDecidedOnOneRank) {
  nlohmann::json json = many_ranks();
  json["num_experts_per_tok"] = 2;
  const TemporaryFolder one, other;
  for (const auto& [folder, second, third] : {std::tuple{&one, 1, 5}, {&other, 5, 1}}) {
    ASSERT_TRUE(reference_model::write_random_checkpoint(json, folder->path(), 3).ok());
    make_near_tie(folder->path(), second, third);
  }
  const ModelOptions options{.precision = Precision::fp32, .context = 128, .largest_step = 64};
  const auto alone = Machine::shared().load(one.path(), options);
  const auto prompt = prompt_of(20, static_cast<int>(alone->config().vocab_size));
  const Rows want = prefill(*alone, prompt, 64, true);
  for (const bool differ : {true, false})
    run_parallel({.folder = one.path(),
                  .ranks = 2,
                  .options = options,
                  .ranks_differ = differ,
                  .other_folder = other.path()},
                 [&](Model& model) {
                   const double most = largest_difference(prefill(model, prompt, 64, true), want);
                   if (differ)
                     EXPECT_LE(most, 1e-4);
                   else
                     EXPECT_GT(most, 1e-2);  // why they are
                 });
}

// Blocks of activations that lie on several ranks get the scale of the whole block: without it the
// codes differ, and so does nearly every number.
TEST_F(ParallelTest, NativeIsCloseToOneRank) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const auto folder = reference_folder() / "goldens/flash-nano";
  ModelOptions options{.precision = Precision::native, .context = 512, .largest_step = 64};
  const auto alone = Machine::shared().load(folder, options);
  for (const auto& [ranks, experts, length] : {std::tuple{2, ExpertExchange::all_reduce, 3},
                                               {8, ExpertExchange::all_reduce, 3},
                                               {2, kAllToAll, 3},
                                               {8, kAllToAll, 9}}) {
    options.rank.experts = experts;
    const auto prompt = prompt_of(length, static_cast<int>(alone->config().vocab_size));
    const Trace want = trace(*alone, prompt, kSteps);
    run_parallel({folder, ranks, options}, [&](Model& model) {
      const Trace got = trace(model, prompt, kSteps, want.tokens);
      const std::vector<double> close = cosines(got.logits, want.logits);
      // The limits of docs/model.md for the official vectors.
      EXPECT_GE(close[0], 0.995) << ranks << " ranks, the prompt";
      EXPECT_GE(
          std::accumulate(close.begin(), close.end(), 0.0) / static_cast<double>(close.size()),
          0.975)
          << ranks << " ranks, mean";
    });
  }
}

TEST_F(ParallelTest, EveryRankHoldsWhatItsPlanSays) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const auto folder = reference_folder() / "goldens/flash-nano";
  const auto config = model::deepseek_v4::load_config(folder).value();
  const auto weights = model::deepseek_v4::expand_weights(config, config.draft_layers);
  for (const auto& [ranks, experts] : {std::pair{1, ExpertExchange::all_reduce},
                                       {2, ExpertExchange::all_reduce},
                                       {8, ExpertExchange::all_reduce},
                                       {8, kAllToAll}}) {
    std::mutex mutex;
    const auto look = [&](const Model& model) {
      const std::lock_guard lock(mutex);
      const auto plan = model::deepseek_v4::plan_rank(weights, config, model.options().rank, {});
      const auto held = model.weights_held();
      EXPECT_NEAR(static_cast<double>(held.mapped), static_cast<double>(plan.mapped),
                  0.02 * static_cast<double>(plan.mapped));
      EXPECT_NEAR(static_cast<double>(held.copied), static_cast<double>(plan.copied),
                  0.02 * static_cast<double>(plan.copied));
    };
    ModelOptions options{.context = 128, .largest_step = 8};
    options.rank.experts = experts;
    run_parallel({folder, ranks, options, false, look}, [](Model&) {});
  }
}

}  // namespace
}  // namespace tessera::model_test
