// SPDX-License-Identifier: Apache-2.0
// fp32 against vectors that two implementations agree on to 4e-6.
#include "tests/model/model_fixture.h"

namespace tessera::model_test {
namespace {

class Fp32Golden : public GoldenTest, public testing::WithParamInterface<int> {
 protected:
  static constexpr double kLimit = 2e-4;
};

TEST_P(Fp32Golden, LogitsInChunksOfAnySizeAndGreedyIds) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  open(GetParam());
  const auto model = Machine::shared().load(
      folder_, {.precision = Precision::fp32, .context = 512, .sequences = 1, .largest_step = 300});
  ASSERT_NE(model, nullptr);
  const Rows expected = golden_.rows(name("fp32.logits"));  // of the last rows
  const Rows steps = golden_.rows(name("fp32.greedy_logits"));
  Rows logits;
  for (const int64_t chunk : {1, 7, 64, 300}) {
    logits = last_rows(prefill(*model, ids_, chunk, true), expected.rows);
    EXPECT_LE(reference_model::max_difference(logits, expected), kLimit) << "chunks of " << chunk;
  }
  for (size_t i = 0; i < greedy_.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    ASSERT_EQ(reference_model::argmax(logits[logits.rows - 1]), greedy_[i]) << "step " << i;
    logits = step(*model, GetParam() + row, std::span(&greedy_[i], 1));
    EXPECT_LE(reference_model::max_difference(logits, reference_model::slice(steps, row, row + 1)),
              kLimit)
        << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Nano, Fp32Golden, testing::ValuesIn(kPrompts),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace tessera::model_test
