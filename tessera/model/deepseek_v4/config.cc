// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <system_error>

#include "tessera/base/mapped_file.h"
#include "tessera/model/deepseek_v4/config_fields.h"

namespace tessera::model::deepseek_v4 {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Range = ConfigFields::Range;

constexpr Range kWidth{1, 1 << 17};  // of a vector
constexpr Range kCount{1, 1 << 14};  // of heads, experts, ..
constexpr Range kPosition{1, int64_t{1} << 30};
constexpr Range kToken{0, (1 << 24) - 1};
constexpr int64_t kMostLayers = 1024;
constexpr int64_t kMostExpertsInAll = 1 << 18;  // of all layers together

void read_sizes(const ConfigFields& fields, Config& config) {
  config.vocab_size = fields.integer({"vocab_size"}, {1, 1 << 24});
  config.hidden_size = fields.integer({"hidden_size", "dim"}, kWidth);
  config.heads = fields.integer({"num_attention_heads", "n_heads"}, kCount);
  config.head_dim = fields.integer({"head_dim"}, {1, 1 << 13});
  config.q_lora_rank = fields.integer({"q_lora_rank"}, kWidth);
  config.o_groups = fields.integer({"o_groups"}, kCount);
  config.o_lora_rank = fields.integer({"o_lora_rank"}, kWidth);
  config.window = fields.integer({"sliding_window", "window_size"}, {1, 1 << 20});
  config.index_heads = fields.integer({"index_n_heads"}, kCount);
  config.index_head_dim = fields.integer({"index_head_dim"}, {1, 1 << 13});
  config.index_top_k = fields.integer({"index_topk"}, {1, 1 << 20});
  config.experts = fields.integer({"n_routed_experts", "num_local_experts"}, kCount);
  config.experts_per_token = fields.integer({"num_experts_per_tok", "n_activated_experts"}, kCount);
  config.expert_width = fields.integer({"moe_intermediate_size", "moe_inter_dim"}, kWidth);
  config.sinkhorn_iterations = fields.integer({"hc_sinkhorn_iters"}, {1, 1000});
  config.route_scale = fields.number({"routed_scaling_factor", "route_scale"}, 0);
  config.swiglu_limit = fields.number({"swiglu_limit"}, 0);
  config.hc_eps = fields.number({"hc_eps"}, 0, 1e-6);
  config.norm_eps = fields.number({"rms_norm_eps", "norm_eps"}, 0, 1e-6);

  // Of a transformers tree: a share of head_dim.
  if (!fields.has("qk_rope_head_dim") && fields.has("partial_rotary_factor"))
    config.rope_dim = static_cast<int64_t>(static_cast<double>(config.head_dim) *
                                           fields.number({"partial_rotary_factor"}, 0));
  else
    config.rope_dim = fields.integer({"qk_rope_head_dim", "rope_head_dim"}, {2, 1 << 13});
}

void read_yarn(const ConfigFields& yarn, ConfigFields::Names factor, ConfigFields::Names length,
               Config& config) {
  config.yarn_factor = yarn.number(factor, 1);
  config.yarn_original_length = yarn.integer(length, kPosition);
  config.yarn_beta_fast = yarn.number({"beta_fast"}, 0, 32);
  config.yarn_beta_slow = yarn.number({"beta_slow"}, 0, 1);
}

void read_rope(const ConfigFields& fields, Config& config) {
  constexpr double kLeastTheta = 1;
  const auto parameters = fields.object({"rope_scaling", "rope_parameters"});
  const auto main = parameters ? parameters->object({"main"}) : std::nullopt;
  const auto compress = parameters ? parameters->object({"compress"}) : std::nullopt;
  config.rope_theta = (main ? *main : fields).number({"rope_theta"}, kLeastTheta);
  if (compress)
    config.compress_rope_theta = compress->number({"rope_theta"}, kLeastTheta);
  else
    config.compress_rope_theta = fields.number({"compress_rope_theta"}, kLeastTheta);

  if (const Json* length = fields.find({"original_seq_len"}); length != nullptr) {
    if (*length != 0) read_yarn(fields, {"rope_factor"}, {"original_seq_len"}, config);
  } else if (const auto& yarn = compress ? compress : parameters) {
    const Json* type = yarn->find({"rope_type", "type"});
    if (type == nullptr || *type != "default") {
      yarn->only({"rope_type", "type"}, "yarn");
      read_yarn(*yarn, {"factor"}, {"original_max_position_embeddings"}, config);
    }
  }
  const auto reach = static_cast<int64_t>(
      std::min(static_cast<double>(kPosition.most),
               static_cast<double>(config.yarn_original_length) * config.yarn_factor));
  config.max_positions =
      fields.integer({"max_position_embeddings"}, kPosition, std::max<int64_t>(1, reach));
}

/// transformers' names for the ratios 0, 4 and 128.
std::optional<int> ratio_of(std::string_view layer_type) {
  if (layer_type == "sliding_attention") return 0;
  if (layer_type == "compressed_sparse_attention") return 4;
  if (layer_type == "heavily_compressed_attention") return 128;
  return std::nullopt;
}

void check_compress_rates(const ConfigFields& fields) {
  if (const auto rates = fields.object({"compress_rates"})) {
    rates->only({"compressed_sparse_attention", "csa"}, 4);
    rates->only({"heavily_compressed_attention", "hca"}, 128);
  }
  fields.only({"compress_rate_csa"}, 4);
  fields.only({"compress_rate_hca"}, 128);
}

/// Ratios of the trunk, from either schedule. Returns how many draft layers follow them.
int64_t read_ratios(const ConfigFields& fields, int64_t count, Config& config) {
  config.layers.resize(static_cast<size_t>(count));
  const size_t before = fields.problems();
  const std::vector<std::string> types = fields.texts({"layer_types"});
  const std::vector<int64_t> ratios = fields.integers({"compress_ratios"}, {0, 128});
  if (fields.problems() > before) return 0;
  if (types.empty() && ratios.empty()) {
    fields.problem("compress_ratios (or layer_types) is missing");
    return 0;
  }
  if (!types.empty()) {
    if (types.size() != config.layers.size())
      fields.problem(fmt::format("layer_types has {} entries for {} layers", types.size(), count));
    for (size_t i = 0; i < std::min(types.size(), config.layers.size()); ++i) {
      const auto ratio = ratio_of(types[i]);
      if (!ratio)
        fields.problem(
            fmt::format("layer_types[{}] is \"{}\"; known are sliding_attention, "
                        "compressed_sparse_attention, heavily_compressed_attention",
                        i, types[i]));
      config.layers[i].ratio = ratio.value_or(0);
    }
    check_compress_rates(fields);
  }
  if (ratios.empty()) return 0;
  if (ratios.size() < config.layers.size())
    fields.problem(
        fmt::format("compress_ratios has {} entries for {} layers", ratios.size(), count));
  for (size_t i = 0; i < ratios.size(); ++i) {
    const auto ratio = static_cast<int>(ratios[i]);
    if (ratio != 0 && ratio != 4 && ratio != 128)
      fields.problem(fmt::format("compress_ratios[{}] is {}; 0, 4 and 128 are possible", i, ratio));
    else if (i >= config.layers.size() && ratio != 0)
      fields.problem(fmt::format("compress_ratios[{}], of a draft layer, is {}; only 0 is possible",
                                 i, ratio));
    else if (i < config.layers.size() && !types.empty() && config.layers[i].ratio != ratio)
      fields.problem(fmt::format("compress_ratios[{}] is {}, but layer_types[{}] is {}", i, ratio,
                                 i, types[std::min(i, types.size() - 1)]));
    else if (i < config.layers.size())
      config.layers[i].ratio = ratio;
  }
  return std::max<int64_t>(0, static_cast<int64_t>(ratios.size()) - count);
}

void read_routing(const ConfigFields& fields, Config& config) {
  const auto count = static_cast<int64_t>(config.layers.size());
  const std::vector<std::string> types = fields.texts({"mlp_layer_types"});
  if (types.empty()) {
    const int64_t hashed = fields.integer({"num_hash_layers", "n_hash_layers"}, {0, kMostLayers});
    if (hashed > count)
      fields.problem(fmt::format("num_hash_layers is {}, but there are {} layers", hashed, count));
    for (int64_t i = 0; i < std::min(hashed, count); ++i) config.layers[i].hash_routed = true;
    return;
  }
  if (types.size() != config.layers.size())
    fields.problem(
        fmt::format("mlp_layer_types has {} entries for {} layers", types.size(), count));
  for (size_t i = 0; i < std::min(types.size(), config.layers.size()); ++i) {
    if (types[i] != "hash_moe" && types[i] != "moe")
      fields.problem(
          fmt::format("mlp_layer_types[{}] is \"{}\"; known are hash_moe, moe", i, types[i]));
    config.layers[i].hash_routed = types[i] == "hash_moe";
  }
}

void read_layers(const ConfigFields& fields, Config& config) {
  const size_t before = fields.problems();
  const int64_t count = fields.integer({"num_hidden_layers", "n_layers"}, {1, kMostLayers});
  if (fields.problems() > before) return;  // nothing else about layers would make sense
  const int64_t draft_ratios = read_ratios(fields, count, config);
  read_routing(fields, config);
  config.draft_layers =
      fields.integer({"num_nextn_predict_layers", "n_mtp_layers"}, {0, kMostLayers}, 1);
  if (!fields.has("dspark_block_size")) return;
  Config::Dspark dspark;
  dspark.block_size = fields.integer({"dspark_block_size"}, {1, 1024});
  dspark.noise_token = fields.integer({"dspark_noise_token_id"}, kToken);
  dspark.markov_rank = fields.integer({"dspark_markov_rank"}, kWidth);
  dspark.target_layers = fields.integers({"dspark_target_layer_ids"}, {0, count - 1});
  if (dspark.target_layers.empty()) fields.problem("dspark_target_layer_ids is missing");
  // Its num_nextn_predict_layers is 1 whatever the number of its stages.
  if (draft_ratios > 0) config.draft_layers = draft_ratios;
  config.dspark = std::move(dspark);
}

std::optional<DType> expert_dtype_of(const Json& text) {
  if (text == "fp4") return DType::f4e2m1;
  if (text == "fp8") return DType::f8e4m3;
  if (text == "bf16") return DType::bf16;
  if (text == "int8") return DType::i8;
  return std::nullopt;
}

/// Without a quantization_config nothing is in FP8.
void read_formats(const ConfigFields& fields, Config& config) {
  if (const auto quantization = fields.object({"quantization_config"})) {
    quantization->only({"quant_method"}, "fp8");
    quantization->only({"fmt"}, "e4m3");
    quantization->only({"scale_fmt"}, "ue8m0");
    quantization->only({"weight_block_size"}, Json{Config::kFp8Block, Config::kFp8Block});
  } else if (const Json* dtype = fields.find({"dtype"}); dtype == nullptr || *dtype != "fp8") {
    config.linear_dtype = DType::bf16;
  }
  const Json* experts = fields.find({"expert_dtype"});
  if (experts == nullptr)
    config.expert_dtype = config.linear_dtype;
  else if (const auto dtype = expert_dtype_of(*experts))
    config.expert_dtype = *dtype;
  else
    fields.problem(fmt::format("expert_dtype is {}; fp4, fp8, bf16 and int8 are possible",
                               experts->dump(-1, ' ', true, Json::error_handler_t::replace)));
}

void read_tokens(const ConfigFields& fields, Config& config) {
  config.bos_token = fields.integer({"bos_token_id"}, kToken, 0);
  const Json* eos = fields.find({"eos_token_id"});
  if (eos != nullptr && eos->is_array())
    config.eos_tokens = fields.integers({"eos_token_id"}, kToken);
  else
    config.eos_tokens = {fields.integer({"eos_token_id"}, kToken, 1)};
}

void check_supported(const ConfigFields& fields) {
  fields.only({"scoring_func", "score_func"}, "sqrtsoftplus");
  fields.only({"topk_method"}, "noaux_tc");
  fields.only({"norm_topk_prob"}, true);
  fields.only({"hidden_act"}, "silu");
  fields.only({"n_shared_experts"}, 1);
  fields.only({"num_key_value_heads"}, 1);
  fields.only({"attention_bias"}, false);
  fields.only({"mlp_bias"}, false);
  fields.only({"tie_word_embeddings"}, false);
  fields.only({"hc_mult"}, Config::kStreams);
}

/// What several fields say together. Only called when each is fine by itself.
void check_together(const ConfigFields& fields, const Config& c) {
  const auto multiple = [&](std::string_view name, int64_t value, std::string_view of,
                            int64_t step) {
    if (value % step != 0)
      fields.problem(fmt::format("{} is {}, not a multiple of {} ({})", name, value, of, step));
  };
  multiple("num_attention_heads", c.heads, "o_groups", c.o_groups);
  multiple("qk_rope_head_dim", c.rope_dim, "a pair", 2);
  if (c.rope_dim < 2 || c.rope_dim > c.head_dim || c.rope_dim > c.index_head_dim)
    fields.problem(fmt::format("qk_rope_head_dim is {}, but head_dim is {} and index_head_dim {}",
                               c.rope_dim, c.head_dim, c.index_head_dim));
  if (!std::has_single_bit(static_cast<uint64_t>(c.index_head_dim)))
    fields.problem(fmt::format("index_head_dim is {}, not a power of two", c.index_head_dim));
  if (c.experts_per_token > c.experts)
    fields.problem(fmt::format("num_experts_per_tok is {}, but there are {} experts",
                               c.experts_per_token, c.experts));
  if (c.expert_dtype == DType::f4e2m1) {
    multiple("hidden_size", c.hidden_size, "an FP4 block", Config::kFp4Block);
    multiple("moe_intermediate_size", c.expert_width, "an FP4 block", Config::kFp4Block);
  }
  const auto token = [&](std::string_view name, int64_t id) {
    if (id >= c.vocab_size)
      fields.problem(fmt::format("{} is {}, but vocab_size is {}", name, id, c.vocab_size));
  };
  token("bos_token_id", c.bos_token);
  for (const int64_t id : c.eos_tokens) token("eos_token_id", id);
  if (c.dspark) token("dspark_noise_token_id", c.dspark->noise_token);
  const auto layers = static_cast<int64_t>(c.layers.size()) + c.draft_layers;
  if (layers * c.experts > kMostExpertsInAll)
    fields.problem(fmt::format("{} layers with {} experts each are {} experts; {} are possible",
                               layers, c.experts, layers * c.experts, kMostExpertsInAll));
}

}  // namespace

bool Config::has_ratio(int ratio) const {
  return std::ranges::any_of(layers, [&](const Layer& layer) { return layer.ratio == ratio; });
}

Result<Config> parse_config(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return corrupt(json.is_discarded() ? "not JSON" : "not a JSON object");
  std::vector<std::string> problems;
  const ConfigFields fields(json, problems);
  if (const Json* type = fields.find({"model_type"}); type != nullptr && *type != "deepseek_v4")
    return unsupported(fmt::format("model_type is {}; this program runs deepseek_v4",
                                   type->dump(-1, ' ', true, Json::error_handler_t::replace)));
  Config config;
  read_sizes(fields, config);
  read_rope(fields, config);
  read_layers(fields, config);
  read_formats(fields, config);
  read_tokens(fields, config);
  check_supported(fields);
  if (problems.empty()) check_together(fields, config);
  if (problems.empty()) return config;
  if (problems.size() == 1) return corrupt(problems[0]);
  return corrupt(fmt::format("{} problems: {}", problems.size(), fmt::join(problems, "; ")));
}

Result<Config> load_config(const fs::path& path) {
  std::error_code ignored;
  const fs::path file = fs::is_directory(path, ignored) ? path / "config.json" : path;
  TESSERA_ASSIGN(const MappedFile mapped, MappedFile::open(file));
  return parse_config(mapped.text()).context(file.string());
}

}  // namespace tessera::model::deepseek_v4
