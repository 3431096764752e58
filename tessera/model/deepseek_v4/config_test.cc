// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/config.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/reference_data.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"

namespace tessera::model::deepseek_v4 {
namespace {

using Json = nlohmann::json;

/// The error for the sample config with these fields changed; null removes a field.
std::string problem(const Json& changes, Json json = sample_config()) {
  json.merge_patch(changes);
  const auto config = parse_config(json.dump());
  return config.ok() ? "accepted" : config.error().message;
}

void expect_sample(const Config& c) {
  EXPECT_EQ(c.vocab_size, 96);
  EXPECT_EQ(c.hidden_size, 64);
  ASSERT_EQ(c.layers.size(), 4u);
  const int ratios[] = {0, 4, 128, 4};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(c.layers[i].ratio, ratios[i]);
    EXPECT_EQ(c.layers[i].hash_routed, i == 0);
  }
  EXPECT_EQ(c.draft_layers, 1);
  EXPECT_FALSE(c.dspark.has_value());
  EXPECT_EQ(c.heads, 4);
  EXPECT_EQ(c.head_dim, 32);
  EXPECT_EQ(c.rope_dim, 16);
  EXPECT_EQ(c.q_lora_rank, 48);
  EXPECT_EQ(c.o_groups, 2);
  EXPECT_EQ(c.heads_per_group(), 2);
  EXPECT_EQ(c.o_lora_rank, 24);
  EXPECT_EQ(c.window, 8);
  EXPECT_EQ(c.index_heads, 2);
  EXPECT_EQ(c.index_head_dim, 16);
  EXPECT_EQ(c.index_top_k, 5);
  EXPECT_EQ(c.experts, 6);
  EXPECT_EQ(c.experts_per_token, 2);
  EXPECT_EQ(c.expert_width, 96);
  EXPECT_EQ(c.expert_dtype, DType::f4e2m1);
  EXPECT_EQ(c.route_scale, 1.5);
  EXPECT_EQ(c.swiglu_limit, 10);
  EXPECT_EQ(c.sinkhorn_iterations, 20);
  EXPECT_EQ(c.hc_eps, 1e-6);
  EXPECT_EQ(c.norm_eps, 1e-6);
  EXPECT_EQ(c.rope_theta, 10000);
  EXPECT_EQ(c.compress_rope_theta, 160000);
  EXPECT_EQ(c.yarn_original_length, 128);
  EXPECT_EQ(c.yarn_factor, 16);
  EXPECT_EQ(c.yarn_beta_fast, 32);
  EXPECT_EQ(c.yarn_beta_slow, 1);
  EXPECT_EQ(c.max_positions, 2048);
  EXPECT_EQ(c.bos_token, 0);
  EXPECT_EQ(c.eos_tokens, std::vector<int64_t>{1});
}

TEST(Config, AllDialectsSayTheSame) {
  for (const Json& json :
       {sample_config(), sample_inference_config(), sample_transformers_config()}) {
    const auto config = parse_config(json.dump());
    ASSERT_TRUE(config.ok()) << config.error().message;
    expect_sample(*config);
  }
}

TEST(Config, ReadsThePublishedFiles) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const auto load = [](const std::string& name) {
    auto config = load_config(reference_folder() / "checkpoint/configs" / name);
    EXPECT_TRUE(config.ok()) << config.error().to_string();
    return std::move(config).value();
  };
  const Config flash = load("DeepSeek-V4-Flash.config.json");
  EXPECT_EQ(flash.layers.size(), 43u);
  EXPECT_EQ(flash.layers[2].ratio, 4);
  EXPECT_EQ(flash.layers[41].ratio, 128);
  EXPECT_TRUE(flash.layers[2].hash_routed);
  EXPECT_FALSE(flash.layers[3].hash_routed);
  EXPECT_EQ(flash.max_positions, 1048576);
  EXPECT_EQ(flash.yarn_original_length, 65536);
  const Config coded = load("DeepSeek-V4-Flash.inference-config.json");
  EXPECT_EQ(coded.hidden_size, flash.hidden_size);
  EXPECT_EQ(coded.max_positions, flash.max_positions);
  EXPECT_EQ(coded.layers.size(), flash.layers.size());
  const Config pro = load("DeepSeek-V4-Pro.config.json");
  EXPECT_EQ(pro.layers.size(), 61u);
  EXPECT_EQ(pro.layers[0].ratio, 128);
  EXPECT_EQ(pro.heads, 128);
  EXPECT_EQ(pro.route_scale, 2.5);
  EXPECT_EQ(load("DeepSeek-V4-Pro.inference-config.json").expert_width, 3072);
  const Config later = load("DeepSeek-V4-Flash-0731.config.json");
  EXPECT_EQ(later.draft_layers, 3);
  ASSERT_TRUE(later.dspark.has_value());
  EXPECT_EQ(later.dspark->target_layers, (std::vector<int64_t>{40, 41, 42}));
  EXPECT_EQ(later.dspark->markov_rank, 256);
  const auto nano = load_config(reference_folder() / "goldens/flash-nano");
  ASSERT_TRUE(nano.ok()) << nano.error().to_string();
  EXPECT_EQ(nano->head_dim, 128);
}

TEST(Config, BaseModelsHaveFp8Experts) {
  Json json = sample_config();
  json["expert_dtype"] = "fp8";
  EXPECT_EQ(parse_config(json.dump())->expert_dtype, DType::f8e4m3);
  json.erase("expert_dtype");
  EXPECT_EQ(parse_config(json.dump())->expert_dtype, DType::f8e4m3);
  json.erase("quantization_config");
  EXPECT_EQ(parse_config(json.dump())->expert_dtype, DType::bf16);
  EXPECT_EQ(parse_config(json.dump())->linear_dtype, DType::bf16);
  json["expert_dtype"] = "int8";
  EXPECT_EQ(parse_config(json.dump())->expert_dtype, DType::i8);
}

TEST(Config, PlainRotaryPositionsNeedNoYarn) {
  Json json = sample_config();
  json.erase("rope_scaling");
  const auto config = parse_config(json.dump());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->yarn_original_length, 0);
}

TEST(Config, AllProblemsAreReportedAtOnce) {
  EXPECT_EQ(problem({{"num_attention_heads", 0},
                     {"hidden_size", nullptr},
                     {"head_dim", "wide"},
                     {"compress_ratios", {0, 4, 64, 4, 0}},
                     {"swiglu_limit", -1},
                     {"scoring_func", "softmax"}}),
            "6 problems: hidden_size is missing; num_attention_heads is 0, not a whole number from "
            "1 to 16384; head_dim is \"wide\", not a whole number from 1 to 8192; swiglu_limit is "
            "-1, not a number of at least 0; compress_ratios[2] is 64; 0, 4 and 128 are possible; "
            "scoring_func is \"softmax\"; only \"sqrtsoftplus\" is supported");
}

TEST(Config, RefusesAbsurdNumbers) {
  EXPECT_EQ(problem({{"vocab_size", -5}}),
            "vocab_size is -5, not a whole number from 1 to 16777216");
  EXPECT_EQ(problem({{"hidden_size", 1e30}}),
            "hidden_size is 1e+30, not a whole number from 1 to 131072");
  EXPECT_EQ(problem({{"hidden_size", 18446744073709551615u}}),
            "hidden_size is 18446744073709551615, not a whole number from 1 to 131072");
  EXPECT_EQ(problem({{"hidden_size", 64.5}}),
            "hidden_size is 64.5, not a whole number from 1 to 131072");
  EXPECT_EQ(problem({{"num_hidden_layers", 2000000}}),
            "num_hidden_layers is 2000000, not a whole number from 1 to 1024");
  EXPECT_EQ(problem({{"rope_theta", 0}}), "rope_theta is 0, not a number of at least 1");
  EXPECT_EQ(problem({{"rope_scaling", {{"factor", 0}}}}),
            "rope_scaling.factor is 0, not a number of at least 1");
  EXPECT_EQ(problem({{"rope_scaling", 7}}), "rope_scaling is 7, not an object");
  EXPECT_EQ(problem({{"n_routed_experts", 16384},
                     {"num_hidden_layers", 200},
                     {"compress_ratios", std::vector<int>(200)}}),
            "201 layers with 16384 experts each are 3293184 experts; 262144 are possible");
}

TEST(Config, RefusesNumbersThatContradictEachOther) {
  EXPECT_EQ(problem({{"num_attention_heads", 5}}),
            "num_attention_heads is 5, not a multiple of o_groups (2)");
  EXPECT_EQ(problem({{"qk_rope_head_dim", 40}}),
            "qk_rope_head_dim is 40, but head_dim is 32 and index_head_dim 16");
  EXPECT_EQ(problem({{"qk_rope_head_dim", 15}}),
            "qk_rope_head_dim is 15, not a multiple of a pair (2)");
  EXPECT_EQ(problem({{"index_head_dim", 24}}), "index_head_dim is 24, not a power of two");
  EXPECT_EQ(problem({{"num_experts_per_tok", 7}}),
            "num_experts_per_tok is 7, but there are 6 experts");
  EXPECT_EQ(problem({{"moe_intermediate_size", 100}}),
            "moe_intermediate_size is 100, not a multiple of an FP4 block (32)");
  EXPECT_EQ(problem({{"eos_token_id", 96}}), "eos_token_id is 96, but vocab_size is 96");
  EXPECT_EQ(problem({{"dim", 128}}), "hidden_size is 64, but dim is 128");
  EXPECT_EQ(problem({{"num_hash_layers", 5}}), "num_hash_layers is 5, but there are 4 layers");
}

TEST(Config, RefusesSchedulesThatDoNotFit) {
  EXPECT_EQ(problem({{"compress_ratios", {0, 4}}}), "compress_ratios has 2 entries for 4 layers");
  EXPECT_EQ(problem({{"compress_ratios", nullptr}}), "compress_ratios (or layer_types) is missing");
  EXPECT_EQ(problem({{"compress_ratios", 4}}), "compress_ratios is 4, not a list");
  EXPECT_EQ(problem({{"compress_ratios", {0, -4, 4, 4}}}),
            "compress_ratios[1] is -4, not a whole number from 0 to 128");
  EXPECT_EQ(problem({{"compress_ratios", {0, 4, 128, 4, 4}}}),
            "compress_ratios[4], of a draft layer, is 4; only 0 is possible");
  const Json base = sample_transformers_config();
  EXPECT_EQ(problem({{"layer_types", {"sliding_attention"}}}, base),
            "layer_types has 1 entries for 4 layers");
  EXPECT_EQ(problem({{"mlp_layer_types", {"moe", "moe", "dense", "moe"}}}, base),
            "mlp_layer_types[2] is \"dense\"; known are hash_moe, moe");
  EXPECT_EQ(problem({{"compress_rates", {{"compressed_sparse_attention", 2}}}}, base),
            "compress_rates.compressed_sparse_attention is 2; only 4 is supported");
  EXPECT_EQ(problem({{"compress_ratios", {0, 4, 4, 4}}}, base),
            "compress_ratios[2] is 4, but layer_types[2] is heavily_compressed_attention");
}

TEST(Config, RefusesWhatIsNotImplemented) {
  EXPECT_EQ(problem({{"hc_mult", 2}}), "hc_mult is 2; only 4 is supported");
  EXPECT_EQ(problem({{"n_shared_experts", 2}}), "n_shared_experts is 2; only 1 is supported");
  EXPECT_EQ(problem({{"tie_word_embeddings", true}}),
            "tie_word_embeddings is true; only false is supported");
  EXPECT_EQ(problem({{"expert_dtype", "int4"}}),
            "expert_dtype is \"int4\"; fp4, fp8, bf16 and int8 are possible");
  EXPECT_EQ(problem({{"quantization_config", {{"weight_block_size", {32, 32}}}}}),
            "quantization_config.weight_block_size is [32,32]; only [128,128] is supported");
  EXPECT_EQ(problem({{"rope_scaling", {{"type", "linear"}}}}),
            "rope_scaling.rope_type is \"linear\"; only \"yarn\" is supported");
  const auto other = parse_config(R"({"model_type": "deepseek_v41"})");
  EXPECT_EQ(other.error().code, ErrorCode::unsupported);
  EXPECT_EQ(other.error().message, "model_type is \"deepseek_v41\"; this program runs deepseek_v4");
}

TEST(Config, FilesThatAreNoConfig) {
  TemporaryFolder folder;
  EXPECT_NE(load_config(folder.path()).error().message.find("config.json: No such file"),
            std::string::npos);
  write_file(folder / "config.json", "{");
  EXPECT_EQ(load_config(folder.path()).error().message, "not JSON");
  write_file(folder / "config.json", "[]");
  EXPECT_EQ(load_config(folder.path()).error().message, "not a JSON object");
  write_file(folder / "config.json", sample_config().dump());
  EXPECT_TRUE(load_config(folder.path()).ok());
  EXPECT_TRUE(load_config(folder / "config.json").ok());
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
