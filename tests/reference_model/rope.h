// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding on the last dimensions of a head, in interleaved pairs (2i, 2i+1).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/reference_model/config.h"
#include "tests/reference_model/numerics.h"

namespace tessera::reference_model {

class Rope {
 public:
  Rope() = default;
  /// Layers that compress take compress_rope_theta and YaRN, the others rope_theta alone
  /// (model.py:200).
  Rope(const Config& config, bool compresses);

  /// Turns the last qk_rope_head_dim values of each head of `head_dim` in `row`. `inverse` turns
  /// back. The angle is a product in fp32 in both modes: at long positions it differs visibly from
  /// the exact one, and the model was trained with it.
  void apply(const Numerics& numerics, std::span<double> row, int64_t head_dim, int64_t position,
             bool inverse = false) const;

 private:
  std::vector<float> frequencies_;
};

}  // namespace tessera::reference_model
