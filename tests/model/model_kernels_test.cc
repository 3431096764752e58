// SPDX-License-Identifier: Apache-2.0
// The kernels of a model, known before it runs: all of them, and for every size that is accepted.
#include "tessera/model/deepseek_v4/model_kernels.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tessera/model/deepseek_v4/known_configs.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/tuning.h"
#include "tests/reference_model/random_checkpoint.h"

namespace tessera::model::deepseek_v4 {
namespace {

using nlohmann::json;

Config parsed(const json& config) { return parse_config(config.dump()).value(); }

const runtime::Capabilities& capabilities() {
  static const auto device = runtime::open_device("cpu").value();
  return device->info().capabilities;
}

std::map<Hash128, std::string> names(const std::vector<lang::Trace>& kernels) {
  std::map<Hash128, std::string> all;
  for (const lang::Trace& kernel : kernels) all.emplace(kernel.hash(), kernel.name);
  return all;
}

/// Nothing that a step of any size needs is missing.
void expect_all(const Config& config, const ModelOptions& options) {
  const StepWriter writer(config, options);
  const auto listed = names(model_kernels(config, options, capabilities()).value());
  const auto needed = names(kernels_of_steps(writer, writer.all_sizes(), capabilities()).value());
  for (const auto& [hash, name] : needed)
    EXPECT_TRUE(listed.contains(hash)) << name << " is not among the " << listed.size();
  EXPECT_EQ(listed.size(), needed.size());
}

TEST(ModelKernels, SomeSizesHaveTheKernelsOfAll) {
  const Config small = parsed(reference_model::small_config()),
               tiny = load_config(TESSERA_TINY_MODEL).value();
  for (const Precision precision : {Precision::native, Precision::fp32, Precision::fp8}) {
    expect_all(small, {.precision = precision, .context = 3000, .largest_step = 300});
    expect_all(tiny, {.precision = precision, .context = 8192, .mtp = true});
  }
  expect_all(tiny, {.context = 70000, .quantised_cache = true});
  expect_all(tiny, {.context = 2000, .sequences = 20, .largest_step = 200, .mtp = true});
  expect_all(tiny, {.context = 100, .largest_step = 100, .deterministic = true});
}

TEST(ModelKernels, SomeSizesHaveTheKernelsOfAllAtRealWidth) {
  expect_all(shortened(flash_config(), 4), {.context = 8192});
}

TEST(ModelKernels, SubjectsDifferByWhatDecidesTheKernels) {
  const runtime::Capabilities plain;
  runtime::Capabilities wide, tuned;
  wide.gemv_rows *= 2;
  runtime::Tuning tuning;
  ASSERT_TRUE(tuning.set("rms_norm", {{"vector_tile", 16}}).ok());
  tuned.tuning = &tuning;
  const std::set<Hash128> subjects = {
      subject_of_kernels("{}", {}, plain),
      subject_of_kernels("{ }", {}, plain),
      subject_of_kernels("{}", {.precision = Precision::fp32}, plain),
      subject_of_kernels("{}", {.context = 100}, plain),
      subject_of_kernels("{}", {.mtp = true}, plain),
      subject_of_kernels("{}", {.rank = {.number = 1, .count = 2}}, plain),
      subject_of_kernels("{}", {}, wide),
      subject_of_kernels("{}", {}, tuned)};
  EXPECT_EQ(subjects.size(), 8u);
  EXPECT_TRUE(subjects.contains(subject_of_kernels("{}", {}, runtime::Capabilities{})));
}

/// Whatever context and steps a model is run with, a pack has its kernels.
TEST(ModelKernels, PacksServeAnyContext) {
  const Config tiny = load_config(TESSERA_TINY_MODEL).value();
  const auto packed =
      names(model_kernels_of_any_context(tiny, {.largest_step = 4096, .mtp = true}, capabilities())
                .value());
  for (const int64_t context : {1, 30, 64, 1000, 8192, 50000})
    for (const auto& [step, sequences] : {std::pair(2, 1), {33, 1}, {64, 3}, {64, 30}}) {
      const ModelOptions options{
          .context = context, .sequences = sequences, .largest_step = step, .mtp = true};
      for (const auto& [hash, name] : names(model_kernels(tiny, options, capabilities()).value()))
        EXPECT_TRUE(packed.contains(hash))
            << name << " for " << context << ", " << step << " and " << sequences;
    }
}

/// Sizes that are accepted have kernels, those that operators refuse are refused by name before.
TEST(ModelKernels, AcceptedSizesHaveKernels) {
  const std::pair<const char*, std::vector<int64_t>> kSizes[] = {
      {"hidden_size", {32, 96, 224, 1056}},
      {"head_dim", {64, 65, 100, 192, 576}},
      {"index_head_dim", {64, 128, 256}},
      {"q_lora_rank", {1, 100, 1536}},
      {"o_lora_rank", {1, 64, 192, 256}},
      {"num_attention_heads", {2, 6, 128}},
      {"o_groups", {1, 4}},
      {"index_n_heads", {1, 3, 64}},
      {"index_topk", {1, 5, 1500}},
      {"sliding_window", {1, 7, 512}},
      {"moe_intermediate_size", {32, 160, 2048}},
      {"n_routed_experts", {2, 3, 100, 384}},
      {"num_experts_per_tok", {1, 3, 8}},
      {"vocab_size", {2, 1001, 129280}},
      {"hc_sinkhorn_iters", {1, 3}},
  };
  for (const auto& [field, values] : kSizes)
    for (const int64_t value : values) {
      json changed = reference_model::small_config();
      changed[field] = value;
      const Config config = parsed(changed);
      const StepWriter writer(config, {.context = 2048, .largest_step = 130});
      const auto kernels = kernels_of_steps(writer, std::vector{writer.largest()}, capabilities());
      EXPECT_EQ(check_sizes(config).ok(), kernels.ok())
          << field << " " << value << ": " << (kernels.ok() ? "runs" : kernels.error().to_string());
    }
}

/// Nothing would fail, but the numbers would be wrong.
TEST(ModelKernels, SizesThatTheModelTakesForOthersAreRefused) {
  const auto refusal = [](const json& changes) {
    json changed = reference_model::small_config();
    changed.merge_patch(changes);
    return check_sizes(parsed(changed)).error().message;
  };
  EXPECT_EQ(
      refusal({{"qk_rope_head_dim", 32}, {"o_lora_rank", 100}}),
      "no operators for these sizes: qk_rope_head_dim is 32, only 64 runs; o_lora_rank is 100, "
      "only multiples of 128 run");
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
