// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: which file holds which tensor.
//   {"metadata": {"total_size": 160}, "weight_map": {"embed.weight":
//   "model-00001-of-00046.safetensors"}}
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::checkpoint {

struct WeightIndex {
  static constexpr std::string_view kFileName = "model.safetensors.index.json";

  struct Weight {
    std::string name;
    int file = 0;  // index into `files`
  };
  std::vector<std::string> files;      // sorted; names without a folder
  std::vector<Weight> weights;         // sorted by name, unique
  std::optional<uint64_t> total_size;  // bytes of all tensors, as the index says

  /// Errors: corrupt. Everything but the two keys above is skipped.
  static Result<WeightIndex> parse(std::string_view json);

  std::string print() const;
};

}  // namespace tessera::checkpoint
