// SPDX-License-Identifier: Apache-2.0
// Mode::native against the official numerics. As a whole model they are chaotic, one flipped
// rounding picks another expert; so layers are compared one at a time, each fed the official input.
#include "tests/reference_model/golden_fixture.h"

namespace tessera::reference_model {
namespace {

constexpr int kTracedSteps = 6;  // decode steps whose residual stream is recorded

class NativeGoldenLayers : public GoldenTest {
 protected:
  /// The official residual stream, [T, copies, D] on disk.
  Rows stream(const std::string& when, int64_t layer) const {
    Rows h = layers_.rows(name(fmt::format("native.{}.h.{}", when, layer)));
    h.cols *= model_->config().hc_mult;
    h.rows /= model_->config().hc_mult;
    return h;
  }
};

TEST_P(NativeGoldenLayers, RowErrors) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  ASSERT_NO_FATAL_FAILURE(open(Mode::native));
  std::vector<double> all;
  for (int64_t i = 0; i < model_->config().num_hidden_layers; ++i) {
    AttentionState state;
    std::vector<double> errors =
        row_errors(model_->layer(i, stream("prefill", i), ids_, state), stream("prefill", i + 1));
    for (int j = 0; j < kTracedSteps; ++j) {
      const std::string step = fmt::format("step{}", j);
      const Rows h = model_->layer(i, stream(step, i), std::span(&greedy_[j], 1), state);
      errors.push_back(row_errors(h, stream(step, i + 1))[0]);
    }
    EXPECT_LE(quantile(errors, 0.5), 2e-4) << "layer " << i;
    all.insert(all.end(), errors.begin(), errors.end());
  }
  // A KV row with one flipped code moves every row that attends to it.
  EXPECT_LE(quantile(all, 0.9), 1.3e-2);
}

INSTANTIATE_TEST_SUITE_P(Nano, NativeGoldenLayers, testing::Values(3, 33, 130),
                         testing::PrintToStringParamName());

class NativeGolden : public GoldenTest {};

TEST_P(NativeGolden, LogitsAndDraft) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  ASSERT_NO_FATAL_FAILURE(open(Mode::native));
  Sequence sequence = model_->new_sequence();
  const Rows h = model_->forward(ids_, sequence);
  const Rows logits = model_->logits(slice(h, h.rows - 1, h.rows));
  std::vector<int64_t> next_ids(ids_.begin() + 1, ids_.end());
  next_ids.push_back(greedy_[0]);
  const Rows draft = model_->mtp(h, next_ids, sequence);
  const Rows draft_logits = model_->mtp_logits(slice(draft, draft.rows - 1, draft.rows));

  // What is left of a right engine after the flips of a longer prompt.
  const double least = GetParam() <= 3 ? 0.995 : 0.9;
  EXPECT_GE(cosine(logits[0], golden_.rows(name("native.last_logits"))[0]), least);
  EXPECT_GE(cosine(draft_logits[0], golden_.rows(name("native.mtp_last_logits"))[0]), least);

  const Rows forced = golden_.rows(name("native.forced_logits"));
  double sum = 0;
  for (size_t i = 0; i < greedy_.size(); ++i) {
    const Rows step = model_->logits(model_->forward(std::span(&greedy_[i], 1), sequence));
    sum += cosine(step[0], forced[i]);
  }
  EXPECT_GE(sum / static_cast<double>(greedy_.size()), 0.975);
}

INSTANTIATE_TEST_SUITE_P(Nano, NativeGolden, testing::Values(1, 3, 33, 130, 300),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace tessera::reference_model
