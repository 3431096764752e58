// SPDX-License-Identifier: Apache-2.0
// Looks for NaN in the scales of a checkpoint: one such byte (255) spoils every value of its block.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tessera/checkpoint/checkpoint.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {

struct NanScales {
  std::string name;
  int64_t count = 0;
  int64_t row = 0, column = 0;  // of the first
};

struct ScaleCheck {
  int64_t tensors = 0;
  uint64_t bytes = 0;
  std::vector<NanScales> found;  // tensors with NaN
};

/// Reads the scales among `weights` that are in the checkpoint as expected, with all cores and in
/// the order of the files, and lets go of their pages. `progress(done, total)` is called with bytes
/// after every tensor, by one thread at a time.
ScaleCheck check_scales(const checkpoint::Checkpoint& checkpoint,
                        std::span<const WeightSpec> weights,
                        const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace tessera::model::deepseek_v4
