// SPDX-License-Identifier: Apache-2.0
// The shape and constants of one DeepSeek-V4 model, from config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/base/result.h"

namespace tessera::model::deepseek_v4 {

/// Values are checked by parse_config: positive where that makes sense, bounded so that products
/// of four of them fit 63 bits, and consistent with each other.
struct Config {
  /// Copies of the residual stream (hc_mult): the operators are written for this number.
  static constexpr int64_t kStreams = 4;
  /// Rows and columns of a scale block of FP8 weights; inputs of one scale of FP4 weights.
  static constexpr int64_t kFp8Block = 128, kFp4Block = 32;

  struct Layer {
    /// Tokens a compressed entry stands for: 0 (window only), 4 (overlapping windows, chosen by
    /// the indexer) or 128 (all entries).
    int ratio = 0;
    bool hash_routed = false;  // experts come from a table of token ids instead of from scores
    friend bool operator==(const Layer&, const Layer&) = default;
  };
  /// The draft head of the 0731 checkpoints.
  struct Dspark {
    int64_t block_size = 0, noise_token = 0, markov_rank = 0;
    std::vector<int64_t> target_layers;  // whose outputs it reads
  };

  int64_t vocab_size = 0, hidden_size = 0;
  std::vector<Layer> layers;  // of the trunk
  /// Blocks after the trunk (mtp.N) that the config announces: 1 for Flash and Pro. How many there
  /// are, the checkpoint says.
  int64_t draft_layers = 0;
  std::optional<Dspark> dspark;

  /// Of the matrices that the official checkpoints have in FP8; or bf16.
  DType linear_dtype = DType::f8e4m3;

  // Attention: `heads` query heads over one key-value head.
  int64_t heads = 0, head_dim = 0;
  int64_t rope_dim = 0;  // the last dimensions of a head that are rotated
  int64_t q_lora_rank = 0, o_groups = 0, o_lora_rank = 0;
  int64_t window = 0;  // latest tokens every layer attends to
  int64_t index_heads = 0, index_head_dim = 0, index_top_k = 0;

  // Experts. One shared expert of the same width runs for every token.
  int64_t experts = 0, experts_per_token = 0, expert_width = 0;
  DType expert_dtype = DType::f4e2m1;  // or f8e4m3, bf16, i8 (one f32 scale a row)
  double route_scale = 0;
  double swiglu_limit = 0;  // 0: no clamp

  int64_t sinkhorn_iterations = 0;
  double hc_eps = 0, norm_eps = 0;

  // Rotary positions: window-only layers use rope_theta, layers with a ratio compress_rope_theta
  // and, when yarn_original_length is not 0, YaRN.
  double rope_theta = 0, compress_rope_theta = 0;
  int64_t yarn_original_length = 0;
  double yarn_factor = 1, yarn_beta_fast = 32, yarn_beta_slow = 1;
  int64_t max_positions = 0;

  int64_t bos_token = 0;
  std::vector<int64_t> eos_tokens;

  int64_t heads_per_group() const { return heads / o_groups; }
  bool has_ratio(int ratio) const;
};

/// Reads the text of a config.json in any of three dialects: the published one, the one of the
/// official inference code (dim, n_layers, ..), and transformers' (layer_types, mlp_layer_types,
/// compress_rates). Error: corrupt, or unsupported for another architecture, with every
/// problem and its numbers.
Result<Config> parse_config(std::string_view json);

/// `path`: a folder with config.json, or such a file.
Result<Config> load_config(const std::filesystem::path& path);

}  // namespace tessera::model::deepseek_v4
