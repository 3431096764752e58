// SPDX-License-Identifier: Apache-2.0
// Mode::exact against the fp32 vectors, which two implementations agree on to 4e-6.
#include "tests/reference_model/golden_fixture.h"

namespace tessera::reference_model {
namespace {

class ExactGolden : public GoldenTest {};

TEST_P(ExactGolden, LogitsAndGreedyIds) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  ASSERT_NO_FATAL_FAILURE(open(Mode::exact));
  Sequence sequence = model_->new_sequence();
  const Rows expected = golden_.rows(name("fp32.logits"));  // of the last rows
  const Rows h = model_->forward(ids_, sequence);
  Rows logits = model_->logits(slice(h, h.rows - expected.rows, h.rows));
  EXPECT_LE(max_difference(logits, expected), 2e-4);

  const Rows steps = golden_.rows(name("fp32.greedy_logits"));
  for (size_t i = 0; i < greedy_.size(); ++i) {
    ASSERT_EQ(argmax(logits[logits.rows - 1]), greedy_[i]) << "step " << i;
    logits = model_->logits(model_->forward(std::span(&greedy_[i], 1), sequence));
    EXPECT_LE(max_difference(logits, slice(steps, i, i + 1)), 2e-4) << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Nano, ExactGolden, testing::Values(1, 3, 33, 130, 300),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace tessera::reference_model
