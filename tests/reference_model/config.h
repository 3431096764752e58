// SPDX-License-Identifier: Apache-2.0
// The sizes of a DeepSeek-V4 model, as config.json names them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::reference_model {

struct Yarn {
  double factor = 1, beta_fast = 32, beta_slow = 1;
  int64_t original_positions = 0;  // 0: no YaRN
};

struct Config {
  int64_t vocab_size, hidden_size, num_hidden_layers, num_hash_layers;
  int64_t num_attention_heads, head_dim, qk_rope_head_dim, q_lora_rank, o_groups, o_lora_rank;
  int64_t sliding_window, index_n_heads, index_head_dim, index_topk;
  int64_t moe_intermediate_size, n_routed_experts, num_experts_per_tok;
  int64_t hc_mult, hc_sinkhorn_iters, num_nextn_predict_layers;
  double rms_norm_eps, hc_eps, routed_scaling_factor, swiglu_limit, rope_theta, compress_rope_theta;
  Yarn yarn;                             // of layers that compress
  bool fp8_experts;                      // expert_dtype "fp8"; else "fp4"
  std::vector<int64_t> compress_ratios;  // one a layer, then one an MTP layer
};

/// Fails with the name of a field that is missing or has another type.
Result<Config> parse_config(const nlohmann::json& json);

}  // namespace tessera::reference_model
