// SPDX-License-Identifier: Apache-2.0
// For tests: one small model in the three dialects.
#pragma once

#include <nlohmann/json.hpp>

namespace tessera::model::deepseek_v4 {

/// As published: four layers of all kinds and one draft layer.
inline nlohmann::json sample_config() {
  return {{"model_type", "deepseek_v4"},
          {"vocab_size", 96},
          {"hidden_size", 64},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 1},
          {"head_dim", 32},
          {"qk_rope_head_dim", 16},
          {"q_lora_rank", 48},
          {"o_groups", 2},
          {"o_lora_rank", 24},
          {"sliding_window", 8},
          {"compress_ratios", {0, 4, 128, 4, 0}},
          {"index_n_heads", 2},
          {"index_head_dim", 16},
          {"index_topk", 5},
          {"moe_intermediate_size", 96},
          {"n_routed_experts", 6},
          {"n_shared_experts", 1},
          {"num_experts_per_tok", 2},
          {"num_hash_layers", 1},
          {"num_nextn_predict_layers", 1},
          {"scoring_func", "sqrtsoftplus"},
          {"topk_method", "noaux_tc"},
          {"norm_topk_prob", true},
          {"routed_scaling_factor", 1.5},
          {"swiglu_limit", 10.0},
          {"hidden_act", "silu"},
          {"expert_dtype", "fp4"},
          {"hc_mult", 4},
          {"hc_sinkhorn_iters", 20},
          {"hc_eps", 1e-6},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000},
          {"compress_rope_theta", 160000},
          {"rope_scaling",
           {{"type", "yarn"},
            {"factor", 16},
            {"original_max_position_embeddings", 128},
            {"beta_fast", 32},
            {"beta_slow", 1}}},
          {"max_position_embeddings", 2048},
          {"quantization_config",
           {{"quant_method", "fp8"},
            {"fmt", "e4m3"},
            {"scale_fmt", "ue8m0"},
            {"weight_block_size", {128, 128}}}},
          {"bos_token_id", 0},
          {"eos_token_id", 1}};
}

/// The same for the official inference code.
inline nlohmann::json sample_inference_config() {
  return {{"vocab_size", 96},
          {"dim", 64},
          {"n_layers", 4},
          {"n_hash_layers", 1},
          {"n_heads", 4},
          {"head_dim", 32},
          {"rope_head_dim", 16},
          {"q_lora_rank", 48},
          {"o_groups", 2},
          {"o_lora_rank", 24},
          {"window_size", 8},
          {"compress_ratios", {0, 4, 128, 4, 0}},
          {"index_n_heads", 2},
          {"index_head_dim", 16},
          {"index_topk", 5},
          {"moe_inter_dim", 96},
          {"n_routed_experts", 6},
          {"n_shared_experts", 1},
          {"n_activated_experts", 2},
          {"score_func", "sqrtsoftplus"},
          {"route_scale", 1.5},
          {"swiglu_limit", 10.0},
          {"hc_mult", 4},
          {"hc_sinkhorn_iters", 20},
          {"original_seq_len", 128},
          {"rope_theta", 10000},
          {"rope_factor", 16},
          {"beta_fast", 32},
          {"beta_slow", 1},
          {"compress_rope_theta", 160000},
          {"dtype", "fp8"},
          {"scale_fmt", "ue8m0"},
          {"expert_dtype", "fp4"}};
}

/// The same as transformers saves it.
inline nlohmann::json sample_transformers_config() {
  nlohmann::json json = sample_config();
  for (const char* name : {"compress_ratios", "num_hash_layers", "qk_rope_head_dim", "rope_theta",
                           "compress_rope_theta", "rope_scaling", "topk_method"})
    json.erase(name);
  json["layer_types"] = {"sliding_attention", "compressed_sparse_attention",
                         "heavily_compressed_attention", "compressed_sparse_attention"};
  json["mlp_layer_types"] = {"hash_moe", "moe", "moe", "moe"};
  json["compress_rates"] = {{"compressed_sparse_attention", 4},
                            {"heavily_compressed_attention", 128}};
  json["partial_rotary_factor"] = 0.5;
  json["rope_parameters"] = {{"main", {{"rope_type", "default"}, {"rope_theta", 10000.0}}},
                             {"compress",
                              {{"rope_type", "yarn"},
                               {"rope_theta", 160000.0},
                               {"factor", 16.0},
                               {"original_max_position_embeddings", 128},
                               {"beta_fast", 32},
                               {"beta_slow", 1}}}};
  json["eos_token_id"] = {1};
  return json;
}

}  // namespace tessera::model::deepseek_v4
