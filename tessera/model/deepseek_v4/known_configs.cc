// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/known_configs.h"

#include <algorithm>

namespace tessera::model::deepseek_v4 {
namespace {

/// Layers 2, 3, 4, ..: ratios 4 and 128 in turn, the last one 4.
void add_alternating(Config& config, size_t count) {
  while (config.layers.size() < count)
    config.layers.push_back({.ratio = config.layers.size() % 2 == 0 ? 4 : 128});
  for (size_t i = 0; i < 3; ++i) config.layers[i].hash_routed = true;
}

}  // namespace

Config flash_config() {
  Config c;
  c.vocab_size = 129280;
  c.hidden_size = 4096;
  c.layers = {{.ratio = 0}, {.ratio = 0}};
  add_alternating(c, 43);
  c.draft_layers = 1;
  c.heads = 64;
  c.head_dim = 512;
  c.rope_dim = 64;
  c.q_lora_rank = 1024;
  c.o_groups = 8;
  c.o_lora_rank = 1024;
  c.window = 128;
  c.index_heads = 64;
  c.index_head_dim = 128;
  c.index_top_k = 512;
  c.experts = 256;
  c.experts_per_token = 6;
  c.expert_width = 2048;
  c.route_scale = 1.5;
  c.swiglu_limit = 10;
  c.sinkhorn_iterations = 20;
  c.hc_eps = c.norm_eps = 1e-6;
  c.rope_theta = 10000;
  c.compress_rope_theta = 160000;
  c.yarn_original_length = 65536;
  c.yarn_factor = 16;
  c.max_positions = 1048576;
  c.eos_tokens = {1};
  return c;
}

Config pro_config() {
  Config c = flash_config();
  c.hidden_size = 7168;
  c.layers = {{.ratio = 128}, {.ratio = 128}};
  add_alternating(c, 61);
  c.heads = 128;
  c.q_lora_rank = 1536;
  c.o_groups = 16;
  c.index_top_k = 1024;
  c.experts = 384;
  c.expert_width = 3072;
  c.route_scale = 2.5;
  return c;
}

Config shortened(Config config, int64_t layers) {
  config.draft_layers = 0;
  if (layers >= std::ssize(config.layers)) return config;
  const auto compressed =
      std::ranges::find_if(config.layers, [](const auto& layer) { return layer.ratio == 4; });
  const auto first =
      std::min(compressed - config.layers.begin(), std::ssize(config.layers) - layers);
  config.layers = {config.layers.begin() + first, config.layers.begin() + first + layers};
  return config;
}

}  // namespace tessera::model::deepseek_v4
