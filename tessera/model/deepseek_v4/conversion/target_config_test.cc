// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/conversion/target_config.h"

#include "tessera/base/testing/expect_result.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"

namespace tessera::model::deepseek_v4 {
namespace {

using nlohmann::json;

Config converted(const json& source, WeightForm form, std::optional<LayerRange> layers = {}) {
  const auto text = converted_config(source.dump(), form, layers);
  EXPECT_TRUE(text.ok()) << text.error().to_string();
  const auto config = parse_config(*text);
  EXPECT_TRUE(config.ok()) << config.error().to_string();
  return *config;
}

TEST(TargetConfig, NamesTheFormatsInEveryDialect) {
  for (const json& source :
       {sample_config(), sample_inference_config(), sample_transformers_config()}) {
    Config config = converted(source, WeightForm::native);
    EXPECT_EQ(config.linear_dtype, DType::f8e4m3);
    EXPECT_EQ(config.expert_dtype, DType::f4e2m1);
    config = converted(source, WeightForm::fp8);
    EXPECT_EQ(config.linear_dtype, DType::f8e4m3);
    EXPECT_EQ(config.expert_dtype, DType::f8e4m3);
    config = converted(source, WeightForm::int8);
    EXPECT_EQ(config.linear_dtype, DType::f8e4m3);
    EXPECT_EQ(config.expert_dtype, DType::i8);
    config = converted(source, WeightForm::bf16);
    EXPECT_EQ(config.linear_dtype, DType::bf16);
    EXPECT_EQ(config.expert_dtype, DType::bf16);
    EXPECT_EQ(config.layers.size(), 4u);
    EXPECT_EQ(config.draft_layers, 1);
  }
}

TEST(TargetConfig, KeepsSomeLayersInEveryDialect) {
  for (const json& source :
       {sample_config(), sample_inference_config(), sample_transformers_config()}) {
    const Config whole = parse_config(source.dump()).value();
    for (const LayerRange range : {LayerRange{0, 1}, {0, 3}, {1, 2}, {3, 3}}) {
      const Config part = converted(source, WeightForm::native, range);
      ASSERT_EQ(std::ssize(part.layers), range.count());
      for (int64_t i = 0; i < range.count(); ++i)
        EXPECT_EQ(part.layers[static_cast<size_t>(i)],
                  whole.layers[static_cast<size_t>(range.first + i)]);
      EXPECT_EQ(part.draft_layers, 0);
    }
  }
}

TEST(TargetConfig, KeepsFieldsItDoesNotKnow) {
  json source = sample_config();
  source["transformers_version"] = "4.57.1";
  const auto text = converted_config(source.dump(), WeightForm::bf16, {});
  ASSERT_OK(text);
  const json made = json::parse(*text);
  EXPECT_EQ(made["transformers_version"], "4.57.1");
  EXPECT_FALSE(made.contains("quantization_config"));
  EXPECT_EQ(made["expert_dtype"], "bf16");
}

TEST(TargetConfig, RefusesWhatCannotBe) {
  EXPECT_ERROR(invalid_argument, "layers 2 to 4 are wanted, the model has 0 to 3",
               converted_config(sample_config().dump(), WeightForm::bf16, LayerRange{2, 4}));
  for (const char* wrong : {"", "-1", "3-", "3-2", "a", "1-2-3", "1 - 2"})
    EXPECT_ERROR(invalid_argument,
                 std::string("layers are \"") + wrong +
                     "\", expected two numbers from 0 on as in 0-3, or one",
                 parse_layer_range(wrong));
  const auto one = parse_layer_range("7");
  ASSERT_OK(one);
  EXPECT_EQ(one->first, 7);
  EXPECT_EQ(one->last, 7);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
