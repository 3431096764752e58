// SPDX-License-Identifier: Apache-2.0
// The model in models/tiny: small, with every kind of layer that DeepSeek-V4 has.
#pragma once

#include <nlohmann/json.hpp>

namespace tessera::tiny_model {

/// Of its weights.
inline constexpr uint64_t kSeed = 4;

inline nlohmann::json tiny_config() {
  return nlohmann::json::parse(R"({
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
    "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 1,
    "expert_dtype": "fp4", "hidden_act": "silu", "initializer_range": 0.02,
    "max_position_embeddings": 1048576, "norm_topk_prob": true, "scoring_func": "sqrtsoftplus",
    "topk_method": "noaux_tc", "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "scale_fmt": "ue8m0", "weight_block_size": [128, 128]},
    "vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 4, "num_hash_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 128, "qk_rope_head_dim": 64,
    "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 128, "sliding_window": 128,
    "compress_ratios": [0, 4, 128, 4, 0],
    "index_n_heads": 4, "index_head_dim": 128, "index_topk": 64,
    "moe_intermediate_size": 128, "n_routed_experts": 8, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "routed_scaling_factor": 1.5, "swiglu_limit": 10.0,
    "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "rms_norm_eps": 1e-6,
    "num_nextn_predict_layers": 1, "rope_theta": 10000, "compress_rope_theta": 160000,
    "rope_scaling": {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                     "original_max_position_embeddings": 65536}
  })");
}

}  // namespace tessera::tiny_model
