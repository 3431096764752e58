// SPDX-License-Identifier: Apache-2.0
// Right numbers pass, and each kind of wrong one misses the limit that is there for it.
#include "tessera/model/deepseek_v4/verification/verification.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tessera/model/deepseek_v4/verification/testing/fake_subject.h"

namespace tessera::model::deepseek_v4 {
namespace {

using Part = LogitsComparison::Part;

class VerificationTest : public ::testing::Test {
 protected:
  VerificationTest() {
    config_.vocab_size = FakeSubject::kVocabulary;
    const int64_t lengths[] = {1, 3, 20};
    prompts_ = made_prompts(lengths, config_);
    for (Prompt& prompt : prompts_) fill_prompt(subject_, prompt, 6).value();
  }

  /// As a file of native vectors would have them.
  void make_native() {
    for (Prompt& prompt : prompts_) {
      prompt.logits = Rows(FakeSubject::kVocabulary, last(prompt.logits));
      subject_.step({0, 0, prompt.ids}).value();
      const std::vector<int32_t> next(prompt.ids.size(), prompt.greedy_ids[0]);
      prompt.draft = subject_.draft({0, 0, next}).value();
    }
  }
  static std::vector<float> last(const Rows& rows) {
    const auto row = rows[rows.count() - 1];
    return {row.begin(), row.end()};
  }

  /// Streams of two layers for the last prompt: a prefill and two steps.
  void make_traces() {
    Prompt& prompt = prompts_.back();
    const auto streams = [&](int64_t position, int64_t rows) {
      std::vector<float> values;
      for (int64_t i = 0; i < rows * kColumns; ++i) values.push_back(static_cast<float>(i % 5 + 1));
      std::vector<const checkpoint::Tensor*> all;
      for (size_t layer = 0; layer <= 2; ++layer) {
        all.push_back(keep(values, rows));
        values = FakeSubject::layer_of(layer, position, values);
      }
      return all;
    };
    prompt.trace.prefill = streams(0, prompt.length());
    for (int64_t step = 0; step < 2; ++step)
      prompt.trace.steps.push_back(streams(prompt.length() + step, 1));
  }
  const checkpoint::Tensor* keep(const std::vector<float>& values, int64_t rows) {
    const auto& data = data_.emplace_back(std::make_unique<std::vector<float>>(values));
    tensors_.push_back(std::make_unique<checkpoint::Tensor>(checkpoint::Tensor{
        "h", DType::f32, {rows, 4, kColumns / 4}, std::as_bytes(std::span(*data))}));
    return tensors_.back().get();
  }

  Verification run(Precision precision, Numbers expected) {
    return verify(subject_, precision, expected, prompts_, [](auto, auto, auto) {}).value();
  }
  /// The limits missed.
  static std::vector<std::string> missed(const Verification& verification) {
    std::vector<std::string> names;
    for (const LimitCheck& check : verification.checks)
      if (!check.passed()) names.push_back(check.what);
    EXPECT_EQ(names.empty(), verification.passed());
    return names;
  }
  using Names = std::vector<std::string>;

  static constexpr int64_t kColumns = 8;
  FakeSubject subject_;
  Config config_;
  std::vector<Prompt> prompts_;
  std::vector<std::unique_ptr<std::vector<float>>> data_;
  std::vector<std::unique_ptr<checkpoint::Tensor>> tensors_;
};

TEST_F(VerificationTest, RightFp32PassesInChunksOfAnySize) {
  for (const int64_t largest : {1, 7, 512}) {
    subject_ = FakeSubject(largest);
    const Verification all = run(Precision::fp32, Numbers::fp32);
    EXPECT_EQ(missed(all), Names{}) << largest;
    ASSERT_EQ(all.vectors.size(), 6u);
    EXPECT_EQ(all.vectors[4].name, "prompt_20.fp32.logits");
    EXPECT_EQ(all.vectors[4].rows, 16);
    EXPECT_EQ(all.vectors[5].name, "prompt_20.fp32.greedy_logits");
    EXPECT_EQ(all.vectors[5].equal_greedy_ids, 6);
    EXPECT_EQ(all.vectors[5].max_difference, 0);
  }
}

TEST_F(VerificationTest, OneWrongLogitOfFp32IsMissed) {
  prompts_[2].steps.values[13] += 3e-4f;
  const Verification all = run(Precision::fp32, Numbers::fp32);
  EXPECT_EQ(missed(all), Names{"largest difference of a logit"});
  EXPECT_NEAR(all.checks[0].value, 3e-4, 1e-6);
  prompts_[2].steps.values[13] -= 2e-4f;
  EXPECT_EQ(missed(run(Precision::fp32, Numbers::fp32)), Names{});
}

TEST_F(VerificationTest, OneOtherGreedyIdIsMissed) {
  int32_t& id = prompts_[1].greedy_ids.back();
  const int32_t right = id;
  id = (right + 1) % FakeSubject::kVocabulary;
  const Names names = missed(run(Precision::fp32, Numbers::fp32));
  EXPECT_TRUE(std::ranges::find(names, "greedy ids that differ") != names.end());
}

TEST_F(VerificationTest, Bf16IsJudgedByItsMeanCosine) {
  EXPECT_EQ(missed(run(Precision::bf16, Numbers::fp32)), Names{});
  for (Prompt& prompt : prompts_)
    for (size_t i = 0; i < prompt.steps.values.size(); ++i)
      prompt.steps.values[i] += i % 2 ? 0.4f : -0.4f;
  EXPECT_EQ(missed(run(Precision::bf16, Numbers::fp32)), Names{"mean cosine of logits"});
}

TEST_F(VerificationTest, RightNativePasses) {
  make_native();
  make_traces();
  const Verification all = run(Precision::native, Numbers::native);
  EXPECT_EQ(missed(all), Names{});
  ASSERT_EQ(all.vectors.size(), 9u);
  EXPECT_EQ(all.vectors[2].name, "prompt_1.native.mtp_last_logits");
  EXPECT_EQ(all.vectors[2].part, Part::kDraft);
  ASSERT_EQ(all.layers.size(), 2u);
  EXPECT_EQ(all.layers[0].all().size(), 22u);
  EXPECT_EQ(all.layers[1].worst(), 0);
  subject_ = FakeSubject(7);
  EXPECT_EQ(missed(run(Precision::native, Numbers::native)), Names{});
}

TEST_F(VerificationTest, WrongNativeLogitsAreMissed) {
  make_native();
  for (float& value : prompts_[1].logits.values) value = 1 - value;
  EXPECT_EQ(missed(run(Precision::native, Numbers::native)),
            (Names{"mean cosine of logits", "cosine of prompt_3.native.last_logits"}));
}

TEST_F(VerificationTest, AWrongDraftIsMissed) {
  make_native();
  std::ranges::reverse(prompts_[0].draft.values);
  EXPECT_EQ(missed(run(Precision::native, Numbers::native)),
            Names{"cosine of prompt_1.native.mtp_last_logits"});
}

TEST_F(VerificationTest, OtherTokensAreMissedThoughTheCosineIsGood) {
  make_native();
  // Every row gets a new largest value beside the old one.
  for (Prompt& prompt : prompts_) {
    for (Rows* rows : {&prompt.logits, &prompt.steps}) {
      for (float& value : rows->values) value *= 1e-3f;
      for (int64_t r = 0; r < rows->count(); ++r) {
        const auto row = (*rows)[r];
        const size_t most = static_cast<size_t>(argmax(row)), at = static_cast<size_t>(r * 8);
        rows->values[at + (most + 1) % 8] = rows->values[at + most] * 1.001f;
      }
    }
  }
  const Names names = missed(run(Precision::native, Numbers::native));
  EXPECT_TRUE(std::ranges::find(names, "share of equal argmax") != names.end());
}

TEST_F(VerificationTest, AWrongLayerIsMissed) {
  make_native();
  make_traces();
  // Of 44 rows: a little wrong in all of the second layer.
  auto& values = *data_[2];
  for (float& value : values) value *= 1.005f;
  Verification all = run(Precision::native, Numbers::native);
  EXPECT_EQ(missed(all), Names{});  // 20 of 44 rows: median 0, 90th percentile 5e-3
  EXPECT_NEAR(all.layers[1].median(), 5e-3, 1e-4);
  for (float& value : values) value *= 1.01f;
  all = run(Precision::native, Numbers::native);
  EXPECT_EQ(missed(all), Names{"90th percentile of row errors of all layers"});
  EXPECT_NEAR(all.layers[1].percentile_90(), 1.48e-2, 1e-4);
  // The stream between both layers: the first is wrong too, the second less.
  for (float& value : *data_[1]) value *= 1.004f;
  EXPECT_EQ(missed(run(Precision::native, Numbers::native)),
            Names{"median row error of all layers"});
}

TEST_F(VerificationTest, FlipsOfEveryRowAreAllowedWhereFp8InstructionsMultiply) {
  make_native();
  make_traces();
  for (const size_t stream : {1, 2})
    for (float& value : *data_[stream]) value *= stream == 1 ? 1.02f : 1.04f;
  EXPECT_EQ(
      missed(run(Precision::native, Numbers::native)),
      (Names{"median row error of all layers", "90th percentile of row errors of all layers"}));
  subject_.sum_exactly_up_to(8);
  Verification all = run(Precision::native, Numbers::native);
  EXPECT_EQ(missed(all), Names{});
  EXPECT_EQ(all.layers[0].of(Sums::kExact).size(), 0u);
  EXPECT_EQ(all.layers[0].of(Sums::kCoarse).size(), 22u);
  for (float& value : *data_[2]) value *= 1.04f;
  all = run(Precision::native, Numbers::native);
  EXPECT_EQ(missed(all), Names{"90th percentile of row errors of all layers by FP8 instructions"});
  for (float& value : *data_[1]) value *= 1.02f;
  EXPECT_EQ(missed(run(Precision::native, Numbers::native)),
            Names{"median row error of all layers by FP8 instructions"});
  subject_ = FakeSubject(7);  // the same prompt in steps that are summed exactly
  subject_.sum_exactly_up_to(8);
  all = run(Precision::native, Numbers::native);
  EXPECT_EQ(all.layers[0].of(Sums::kExact).size(), 22u);
}

TEST_F(VerificationTest, RoundingsAgainstFp32AreJudgedByTheirMeanCosine) {
  for (const Precision precision : {Precision::native, Precision::fp8}) {
    const Verification all = run(precision, Numbers::fp32);
    EXPECT_EQ(missed(all), Names{});
    EXPECT_EQ(all.checks.size(), 1u);
  }
  for (Prompt& prompt : prompts_) std::ranges::reverse(prompt.steps.values);
  EXPECT_EQ(missed(run(Precision::native, Numbers::fp32)), Names{"mean cosine of logits"});
}

TEST_F(VerificationTest, ErrorsOfTheModelSayForWhichPrompt) {
  subject_.fail_at(20);
  const auto all =
      verify(subject_, Precision::fp32, Numbers::fp32, prompts_, [](auto, auto, auto) {});
  ASSERT_FALSE(all.ok());
  EXPECT_EQ(all.error().message, "the device is gone");
  EXPECT_EQ(all.error().context, Names{"prompt_20"});
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
