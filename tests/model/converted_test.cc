// SPDX-License-Identifier: Apache-2.0
// Converted checkpoints in the engine: the numbers of their sources.
#include "tests/model/parallel_fixture.h"

#include "tessera/model/deepseek_v4/conversion/convert.h"

namespace tessera::model_test {
namespace {

using model::deepseek_v4::ConversionOptions;
using model::deepseek_v4::WeightForm;

class ConvertedTest : public GoldenTest {
 protected:
  std::filesystem::path convert(WeightForm form) {
    ConversionOptions options;
    options.form = form;
    const auto plan = model::deepseek_v4::plan_conversion(folder_, options);
    EXPECT_TRUE(plan.ok()) << plan.error().to_string();
    const auto to = made_ / std::string(model::deepseek_v4::name(form));
    const auto done = model::deepseek_v4::convert(*plan, to, 2, [](const auto&) {});
    EXPECT_TRUE(done.ok()) << done.error().to_string();
    return to;
  }
  Rows logits(const std::filesystem::path& folder, Precision precision) {
    const auto model = Machine::shared().load(
        folder, {.precision = precision, .context = 256, .largest_step = 64});
    return model ? prefill(*model, ids_, 64, true) : Rows();
  }
  TemporaryFolder made_;
};

TEST_F(ConvertedTest, Bf16GivesTheGoldensOnAnyNumberOfRanks) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  open(33);
  const auto folder = convert(WeightForm::bf16);
  const Rows expected = golden_.rows(name("fp32.logits"));
  for (const int ranks : {1, 2, 8})  // flash-nano has 4 groups
    run_parallel({.folder = folder,
                  .ranks = ranks,
                  .options = {.precision = Precision::fp32, .context = 256, .largest_step = 64}},
                 [&](Model& model) {
                   const Rows rows = last_rows(prefill(model, ids_, 64, true), expected.rows);
                   EXPECT_LE(reference_model::max_difference(rows, expected), 2e-4)
                       << ranks << " ranks";
                 });
}

TEST_F(ConvertedTest, Fp8IsWhatThePrecisionFp8Makes) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  open(33);
  const auto folder = convert(WeightForm::fp8);
  const Rows stored = logits(folder, Precision::native), made = logits(folder_, Precision::fp8);
  ASSERT_GT(stored.rows, 0);
  EXPECT_EQ(reference_model::max_difference(stored, made), 0);
}

TEST_F(ConvertedTest, Int8IsClose) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  open(3);
  const auto folder = convert(WeightForm::int8);
  const Rows expected = golden_.rows(name("fp32.logits"));
  EXPECT_GT(reference_model::cosine(logits(folder, Precision::fp32).values, expected.values), 0.98);
}

TEST_F(ConvertedTest, NativeNumbersNeedFp8Weights) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  open(3);
  const auto folder = convert(WeightForm::bf16);
  const auto config = model::deepseek_v4::load_config(folder).value();
  EXPECT_EQ(model::deepseek_v4::default_precision(config), Precision::bf16);
  const auto refused = model::deepseek_v4::check_options(config, {.precision = Precision::native});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "this checkpoint has weights in bf16, for the precisions bf16 and fp32; native rounds "
            "what meets FP8 weights");
}

}  // namespace
}  // namespace tessera::model_test
