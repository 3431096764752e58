// SPDX-License-Identifier: Apache-2.0
// The indexer of ratio-4 layers: scores every compressed entry by small heads of its own and picks
// those that attention reads (model.py:402).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/reference_model/compressor.h"

namespace tessera::reference_model {

class Indexer {
 public:
  Indexer() = default;
  Indexer(WeightReader& weights, const std::string& prefix, const Config& config, int64_t ratio);

  /// x [T, hidden] and qr [T, q_lora_rank] of the tokens from position `start` on. Gives for each
  /// token at most index_topk entries, best first; of equal scores the lower entry first.
  std::vector<std::vector<int64_t>> select(const Numerics& numerics, const Rope& rope,
                                           const Rows& x, const Rows& qr, int64_t start,
                                           CompressorState& state, const Trace& trace) const;

 private:
  double score(const Numerics& numerics, std::span<const double> q, std::span<const double> weights,
               std::span<const double> k) const;

  int64_t ratio_ = 0, heads_ = 0, head_dim_ = 0, topk_ = 0;
  Matrix wq_b_, weights_proj_;
  Compressor compressor_;
};

}  // namespace tessera::reference_model
