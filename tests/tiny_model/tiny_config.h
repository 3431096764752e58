// SPDX-License-Identifier: Apache-2.0
// The model in models/tiny: small, with every kind of layer that DeepSeek-V4 has.
#pragma once

#include "tests/reference_model/random_checkpoint.h"

namespace tessera::tiny_model {

/// Of its weights.
inline constexpr uint64_t kSeed = 4;

/// The reference model's small sizes, with those of a model to talk to.
inline nlohmann::json tiny_config() {
  nlohmann::json config = reference_model::small_config();
  config.update({{"vocab_size", 1024},
                 {"num_hidden_layers", 4},
                 {"num_hash_layers", 1},
                 {"head_dim", 128},
                 {"sliding_window", 128},
                 {"compress_ratios", {0, 4, 128, 4, 0}},
                 {"index_n_heads", 4},
                 {"index_topk", 64}});
  config["rope_scaling"]["original_max_position_embeddings"] = 65536;
  return config;
}

}  // namespace tessera::tiny_model
