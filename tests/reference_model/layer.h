// SPDX-License-Identifier: Apache-2.0
// One layer: attention and experts, each inside a hyper-connection.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/reference_model/attention.h"
#include "tests/reference_model/hyper_connection.h"
#include "tests/reference_model/moe.h"

namespace tessera::reference_model {

class Layer {
 public:
  Layer() = default;
  /// `prefix` is "layers.3." or "mtp.0.".
  Layer(WeightReader& weights, const std::string& prefix, const Config& config, int64_t ratio,
        bool hash_routed);

  /// h [T, copies * hidden] of the tokens `ids`, which follow those in `state`.
  Rows forward(const Numerics& numerics, const Rows& h, std::span<const int64_t> ids,
               AttentionState& state, const Trace& trace) const;

 private:
  double eps_ = 0;
  HyperConnection hc_attn_, hc_ffn_;
  std::vector<double> attn_norm_, ffn_norm_;
  Attention attention_;
  Moe moe_;
};

}  // namespace tessera::reference_model
