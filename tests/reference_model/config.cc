// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/config.h"

#include <fmt/format.h>

#include <string>

namespace tessera::reference_model {
namespace {

/// Reads fields; remembers the first one that is missing or not a number.
class Fields {
 public:
  explicit Fields(const nlohmann::json& json) : json_(json) {}

  template <class T>
  void read(const char* name, T& into) {
    const auto found = json_.find(name);
    if (found != json_.end() && found->is_number())
      into = found->template get<T>();
    else if (wrong_.empty())
      wrong_ = name;
  }
  const std::string& wrong() const { return wrong_; }

 private:
  const nlohmann::json& json_;
  std::string wrong_;
};

}  // namespace

Result<Config> parse_config(const nlohmann::json& json) {
  Config c{};
  if (!json.is_object()) return invalid_argument("config.json is no JSON object");
  Fields fields(json);
  fields.read("vocab_size", c.vocab_size);
  fields.read("hidden_size", c.hidden_size);
  fields.read("num_hidden_layers", c.num_hidden_layers);
  fields.read("num_hash_layers", c.num_hash_layers);
  fields.read("num_attention_heads", c.num_attention_heads);
  fields.read("head_dim", c.head_dim);
  fields.read("qk_rope_head_dim", c.qk_rope_head_dim);
  fields.read("q_lora_rank", c.q_lora_rank);
  fields.read("o_groups", c.o_groups);
  fields.read("o_lora_rank", c.o_lora_rank);
  fields.read("sliding_window", c.sliding_window);
  fields.read("index_n_heads", c.index_n_heads);
  fields.read("index_head_dim", c.index_head_dim);
  fields.read("index_topk", c.index_topk);
  fields.read("moe_intermediate_size", c.moe_intermediate_size);
  fields.read("n_routed_experts", c.n_routed_experts);
  fields.read("num_experts_per_tok", c.num_experts_per_tok);
  fields.read("hc_mult", c.hc_mult);
  fields.read("hc_sinkhorn_iters", c.hc_sinkhorn_iters);
  fields.read("num_nextn_predict_layers", c.num_nextn_predict_layers);
  fields.read("rms_norm_eps", c.rms_norm_eps);
  fields.read("hc_eps", c.hc_eps);
  fields.read("routed_scaling_factor", c.routed_scaling_factor);
  fields.read("swiglu_limit", c.swiglu_limit);
  fields.read("rope_theta", c.rope_theta);
  fields.read("compress_rope_theta", c.compress_rope_theta);
  if (!fields.wrong().empty())
    return invalid_argument(fmt::format("config.json: {} is missing or no number", fields.wrong()));

  if (const auto scaling = json.find("rope_scaling");
      scaling != json.end() && scaling->is_object()) {
    Fields yarn(*scaling);
    yarn.read("factor", c.yarn.factor);
    yarn.read("beta_fast", c.yarn.beta_fast);
    yarn.read("beta_slow", c.yarn.beta_slow);
    yarn.read("original_max_position_embeddings", c.yarn.original_positions);
    if (!yarn.wrong().empty())
      return invalid_argument(fmt::format("config.json: rope_scaling.{} is missing", yarn.wrong()));
  }
  c.fp8_experts = json.value("expert_dtype", "fp4") == "fp8";
  const auto ratios = json.find("compress_ratios");
  if (ratios == json.end() || !ratios->is_array())
    return invalid_argument("config.json: compress_ratios is missing or no list");
  for (const auto& ratio : *ratios) c.compress_ratios.push_back(ratio.get<int64_t>());
  const auto wanted = c.num_hidden_layers + c.num_nextn_predict_layers;
  if (static_cast<int64_t>(c.compress_ratios.size()) < wanted)
    return invalid_argument(fmt::format("config.json: {} compress_ratios for {} layers",
                                        c.compress_ratios.size(), wanted));
  return c;
}

}  // namespace tessera::reference_model
