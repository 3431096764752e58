// SPDX-License-Identifier: Apache-2.0
// 131,072 tokens of one sequence: what the numbers at its end must hold, and the memory they took.
#include <cmath>

#include "tessera/base/resident_memory.h"
#include "tessera/model/deepseek_v4/known_configs.h"
#include "tessera/model/deepseek_v4/made_weights.h"
#include "tessera/model/deepseek_v4/memory_plan.h"
#include "tessera/model/deepseek_v4/verification/golden.h"
#include "tests/model/model_fixture.h"

namespace tessera::model_test {
namespace {

using model::deepseek_v4::Config;

constexpr int64_t kContext = 131072, kChunk = 512, kLast = 16;

std::vector<int32_t> text(int64_t length, const Config& config) {
  return model::deepseek_v4::made_prompts(std::span(&length, 1), config)[0].ids;
}

/// Flash in small, with all kinds of layers, as the vectors' checkpoint has it.
Config small_flash() {
  Config c = model::deepseek_v4::flash_config();
  c.vocab_size = 512;
  c.hidden_size = 256;
  c.layers = {{.ratio = 0}, {.ratio = 0},   {.ratio = 4}, {.ratio = 128},
              {.ratio = 4}, {.ratio = 128}, {.ratio = 4}};
  for (size_t i = 0; i < 3; ++i) c.layers[i].hash_routed = true;
  c.draft_layers = 0;
  c.heads = 8;
  c.head_dim = c.q_lora_rank = c.o_lora_rank = c.expert_width = 128;
  c.o_groups = 4;
  c.window = 32;
  c.index_heads = 4;
  c.index_top_k = 16;
  c.experts = 8;
  c.experts_per_token = 3;
  c.yarn_original_length = 128;
  return c;
}

std::unique_ptr<Model> made(const Config& config, const ModelOptions& options) {
  kernels::KernelLibrary& library = Machine::shared().library();
  const auto weights = [&](model::deepseek_v4::Rank rank) {
    return std::make_shared<model::deepseek_v4::RandomWeights>(config, options.precision,
                                                               library.device(), rank);
  };
  auto model = Model::create(weights, config, library, options);
  EXPECT_TRUE(model.ok()) << model.error().to_string();
  return model.ok() ? std::move(*model) : nullptr;
}

TEST(LongContext, Of131072Tokens) {
  const Config config = small_flash();
  const ModelOptions options{.precision = Precision::native,
                             .context = kContext + kChunk,
                             .largest_step = kChunk,
                             .deterministic = true};
  const auto plan =
      Model::plan(config, Machine::shared().library().device().info().capabilities, options)
          .value();
  const auto weights = model::deepseek_v4::plan_weights(
      model::deepseek_v4::expand_weights(config, 0), config, 1, {});
  const double planned = static_cast<double>(plan.total()) + static_cast<double>(weights.mapped);
  const std::vector<int32_t> tokens = text(kContext, config);
  {  // Kernels are compiled by another model: memory of the compiler does not count.
    const auto first = made(config, options);
    ASSERT_NE(first, nullptr);
    prefill(*first, std::span(tokens).first(kChunk), kChunk, false);
    ASSERT_TRUE(first->pretend(kContext - kChunk).ok());
    step(*first, kContext - kChunk, std::span(tokens).last(kChunk), true);
    step(*first, kContext, std::span(tokens).last(1));
  }

  const int64_t before = resident_bytes();
  const auto model = made(config, options);
  ASSERT_NE(model, nullptr);
  prefill(*model, std::span(tokens).first(kContext - kChunk), kChunk, false);
  // The logits of a whole chunk, which come next, are not planned.
  EXPECT_LE(static_cast<double>(resident_bytes() - before), 1.05 * planned);
  const Rows chunk = step(*model, kContext - kChunk, std::span(tokens).last(kChunk), true);
  EXPECT_EQ(model->length(0), kContext);
  for (const float value : chunk.values) ASSERT_TRUE(std::isfinite(value));

  // The last tokens once more, as decode steps: other kernels with other splits over the same
  // 32,768 entries give the same bits.
  Rows single;
  for (int64_t i = kContext - kLast; i < kContext; ++i)
    single.append(step(*model, i, std::span(tokens).subspan(static_cast<size_t>(i), 1)));
  EXPECT_EQ(single.values, last_rows(chunk, kLast).values);
}

/// One other token at the beginning is seen 16,384 positions later, far outside of any window.
TEST(LongContext, FindsANeedle) {
  constexpr int64_t kLength = 16384;
  const auto model = made(
      small_flash(), {.precision = Precision::native, .context = kLength, .largest_step = kChunk});
  ASSERT_NE(model, nullptr);
  const auto vocabulary = static_cast<int32_t>(model->config().vocab_size);
  std::vector<int32_t> tokens = text(kLength, model->config());
  const Rows plain = prefill(*model, tokens, kChunk, false);
  EXPECT_EQ(prefill(*model, tokens, kChunk, false).values, plain.values);
  tokens[100] = (tokens[100] + 1) % vocabulary;
  EXPECT_NE(prefill(*model, tokens, kChunk, false).values, plain.values);
}

}  // namespace
}  // namespace tessera::model_test
