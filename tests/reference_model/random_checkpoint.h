// SPDX-License-Identifier: Apache-2.0
// Checkpoints of any size with random weights, in the official format: config.json, an index, a
// shard for each layer, FP8 linears with 128 x 128 scales, experts in FP4 (or FP8).
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tessera/base/result.h"

namespace tessera::reference_model {

/// A config.json of a model with every kind of layer: two layers of each ratio, one draft layer.
/// Change fields at will; num_hidden_layers and compress_ratios go together.
nlohmann::json small_config();

/// Writes the checkpoint into an existing folder. The same seed and config give the same bytes on
/// every machine. Logits come out with a standard deviation near 1; some experts' gates exceed
/// swiglu_limit 10, and scales differ between blocks. Weights are made while they are written, so
/// memory does not limit the size.
Result<> write_random_checkpoint(const nlohmann::json& config, const std::filesystem::path& folder,
                                 uint64_t seed);

}  // namespace tessera::reference_model
