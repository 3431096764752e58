// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/verification/golden.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/model/deepseek_v4/verification/testing/golden_writer.h"

namespace tessera::model::deepseek_v4 {
namespace {

class GoldenTest : public ::testing::Test {
 protected:
  GoldenTest() {
    config_.vocab_size = 8;
    config_.hidden_size = 2;
    config_.layers.resize(2);
    config_.draft_layers = 1;
    config_.max_positions = 64;
    for (const int64_t length : {5, 2}) {
      const std::string name = "prompt_" + std::to_string(length);
      file_.set(name + ".ids", DType::i32, {length}, 7);
      file_.set(name + ".fp32.greedy_ids", DType::i32, {3}, {1, 2, 3});
      file_.set(name + ".fp32.logits", DType::f32, {2, 8}, 0.5);
      file_.set(name + ".fp32.greedy_logits", DType::f32, {3, 8}, 0.25);
      file_.set(name + ".native.last_logits", DType::f32, {8}, 1);
      file_.set(name + ".native.forced_logits", DType::f32, {3, 8}, 2);
      file_.set(name + ".native.mtp_last_logits", DType::f32, {8}, 3);
    }
    for (const std::string i : {"0", "1", "2"}) {
      layers_.set("prompt_2.native.prefill.h." + i, DType::bf16, {2, 4, 2}, 1.5);
      layers_.set("prompt_2.native.step0.h." + i, DType::bf16, {1, 4, 2}, 2.5);
    }
  }

  checkpoint::Checkpoint open(const GoldenWriter& writer, const std::string& name) {
    writer.write(folder_ / name);
    return checkpoint::Checkpoint::open(folder_ / name).value();
  }
  std::string problem(Numbers numbers) {
    const auto file = open(file_, "golden.safetensors");
    const auto read = read_prompts(file, numbers, config_);
    return read.ok() ? "accepted" : read.error().message;
  }
  std::string trace_problem() {
    const auto file = open(file_, "golden.safetensors");
    const auto layers = open(layers_, "layers.safetensors");
    auto prompts = read_prompts(file, Numbers::native, config_).value();
    const auto read = read_traces(layers, config_, prompts);
    return read.ok() ? "accepted" : read.error().message;
  }

  TemporaryFolder folder_;
  Config config_;
  GoldenWriter file_, layers_;
};

TEST_F(GoldenTest, FindsPromptsByTheirNamesTheShortestFirst) {
  const auto file = open(file_, "golden.safetensors");
  EXPECT_TRUE(has_numbers(file, Numbers::fp32));
  EXPECT_TRUE(has_numbers(file, Numbers::native));
  const auto fp32 = read_prompts(file, Numbers::fp32, config_).value();
  ASSERT_EQ(fp32.size(), 2u);
  EXPECT_EQ(fp32[0].name, "prompt_2");
  EXPECT_EQ(fp32[1].name, "prompt_5");
  EXPECT_EQ(fp32[1].ids, (std::vector<int32_t>(5, 7)));
  EXPECT_EQ(fp32[1].greedy_ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(fp32[1].logits.count(), 2);
  EXPECT_EQ(fp32[1].steps.values, std::vector<float>(24, 0.25f));
  EXPECT_TRUE(fp32[1].draft.empty());
  const auto native = read_prompts(file, Numbers::native, config_).value();
  EXPECT_EQ(native[0].logits.values, std::vector<float>(8, 1.f));
  EXPECT_EQ(native[0].steps.values, std::vector<float>(24, 2.f));
  EXPECT_EQ(native[0].draft.values, std::vector<float>(8, 3.f));
}

TEST_F(GoldenTest, DraftVectorsMayBeAbsent) {
  file_.remove("prompt_2.native.mtp_last_logits");
  EXPECT_EQ(problem(Numbers::native), "accepted");
  config_.draft_layers = 0;
  EXPECT_EQ(problem(Numbers::native),
            "prompt_5.native.mtp_last_logits is of a draft block (MTP), and this model has none");
}

TEST_F(GoldenTest, MissingTensorsAreNamed) {
  file_.remove("prompt_5.native.forced_logits");
  EXPECT_EQ(problem(Numbers::fp32), "accepted");
  EXPECT_EQ(problem(Numbers::native), "no tensor \"prompt_5.native.forced_logits\"");
  file_.remove("prompt_2.fp32.greedy_ids");
  EXPECT_EQ(problem(Numbers::native), "no tensor \"prompt_2.fp32.greedy_ids\"");
  file_.remove("prompt_2.ids");
  file_.remove("prompt_5.ids");
  EXPECT_EQ(problem(Numbers::fp32),
            "no prompt: tensors named prompt_L.ids hold the tokens of prompts");
}

TEST_F(GoldenTest, VectorsOfAnotherModelAreRefused) {
  config_.vocab_size = 16;
  EXPECT_EQ(problem(Numbers::fp32),
            "prompt_2.fp32.logits is f32 [2, 8]; this model has a vocabulary of 16");
  config_.vocab_size = 7;
  EXPECT_EQ(problem(Numbers::fp32), "prompt_2.ids has token 7; this model has a vocabulary of 7");
  config_.vocab_size = 8;
  config_.max_positions = 7;
  EXPECT_EQ(problem(Numbers::fp32),
            "prompt_5 has 5 tokens and 3 decode steps; this model has 7 positions");
}

TEST_F(GoldenTest, ShapesAndTypesMustFitEachOther) {
  file_.set("prompt_2.fp32.greedy_logits", DType::f32, {2, 8}, 0);
  EXPECT_EQ(problem(Numbers::fp32), "prompt_2.fp32.greedy_logits is f32 [2, 8], expected 3 rows");
  file_.set("prompt_2.fp32.logits", DType::f32, {3, 8}, 0);
  EXPECT_EQ(problem(Numbers::fp32), "prompt_2.fp32.logits is f32 [3, 8], expected 1 to 2 rows");
  file_.set("prompt_2.fp32.logits", DType::i32, {2, 8}, 0);
  EXPECT_EQ(problem(Numbers::fp32),
            "prompt_2.fp32.logits is i32 [2, 8], expected logits: f32 [rows, 8]");
  file_.set("prompt_2.ids", DType::f32, {2}, 0);
  EXPECT_EQ(problem(Numbers::fp32),
            "prompt_2.ids is f32 [2], expected token ids: i32 [at least 1]");
  file_.set("prompt_2.ids", DType::i32, {0}, 0);
  EXPECT_EQ(problem(Numbers::fp32),
            "prompt_2.ids is i32 [0], expected token ids: i32 [at least 1]");
}

TEST_F(GoldenTest, TracesOfSomePrompts) {
  const auto file = open(file_, "golden.safetensors");
  const auto layers = open(layers_, "layers.safetensors");
  auto prompts = read_prompts(file, Numbers::native, config_).value();
  ASSERT_TRUE(read_traces(layers, config_, prompts).ok());
  ASSERT_EQ(prompts[0].trace.prefill.size(), 3u);
  ASSERT_EQ(prompts[0].trace.steps.size(), 1u);
  EXPECT_EQ(read_rows(*prompts[0].trace.prefill[2], 8).values, std::vector<float>(16, 1.5f));
  EXPECT_EQ(read_rows(*prompts[0].trace.steps[0][0], 8).values, std::vector<float>(8, 2.5f));
  EXPECT_TRUE(prompts[1].trace.prefill.empty());
}

TEST_F(GoldenTest, WrongTracesAreNamed) {
  config_.layers.resize(3);
  EXPECT_EQ(trace_problem(), "no tensor \"prompt_2.native.prefill.h.3\"");
  config_.layers.resize(1);
  EXPECT_EQ(trace_problem(), "there is prompt_2.native.prefill.h.2; this model has 1 layers");
  config_.layers.resize(2);
  config_.hidden_size = 4;
  EXPECT_EQ(trace_problem(),
            "prompt_2.native.prefill.h.0 is bf16 [2, 4, 2]; this model's residual stream is bf16 "
            "[2, 4, 4]");
  config_.hidden_size = 2;
  layers_.set("prompt_9.native.prefill.h.0", DType::bf16, {9, 4, 2}, 0);
  EXPECT_EQ(trace_problem(), "residual streams of prompt_9, whose tokens are not given");
  layers_ = {};
  layers_.set("something", DType::f32, {1}, 0);
  EXPECT_EQ(trace_problem(),
            "no residual stream: tensors named prompt_L.native.prefill.h.0, .1, .. hold those of "
            "each layer");
}

TEST_F(GoldenTest, MadePromptsAreTheSameEveryTimeAndInTheVocabulary) {
  const int64_t lengths[] = {1, 40};
  const auto prompts = made_prompts(lengths, config_);
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[1].name, "prompt_40");
  EXPECT_EQ(prompts[1].ids, made_prompts(lengths, config_)[1].ids);
  std::vector<bool> seen(8);
  for (const int32_t id : prompts[1].ids) seen.at(static_cast<size_t>(id)) = true;
  EXPECT_GT(std::count(seen.begin(), seen.end(), true), 4);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
