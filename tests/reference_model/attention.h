// SPDX-License-Identifier: Apache-2.0
// Attention of one layer: low-rank queries, one KV head whose rows are keys and values at once, a
// window of recent rows and, by the layer's ratio, compressed entries of everything before
// (model.py:498).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/reference_model/compressor.h"
#include "tests/reference_model/indexer.h"

namespace tessera::reference_model {

/// What a layer remembers of a sequence: all rows, where the official code keeps a ring.
struct AttentionState {
  Rows kv;  // a row for each token so far
  CompressorState compressor, indexer;
};

class Attention {
 public:
  Attention() = default;
  /// `ratio` 0: window only; 4: entries that the indexer picks; others: all entries.
  Attention(WeightReader& weights, const std::string& prefix, const Config& config, int64_t ratio);

  /// x [T, hidden] are the tokens from position state.kv.rows on; gives [T, hidden].
  Rows forward(const Numerics& numerics, const Rows& x, AttentionState& state,
               const Trace& trace) const;

 private:
  /// One row of KV for each slot; an empty span is a slot without a row.
  using Slots = std::vector<std::span<const double>>;

  Slots window_slots(const Rows& kv, int64_t position, int64_t start, int64_t tokens) const;
  void attend(const Numerics& numerics, std::span<const double> q, const Slots& slots,
              std::span<double> o) const;

  Config config_{};
  int64_t ratio_ = 0;
  Rope rope_;
  Matrix wq_a_, wq_b_, wkv_, wo_a_, wo_b_;
  std::vector<double> q_norm_, kv_norm_, sink_;
  Compressor compressor_;
  Indexer indexer_;
};

}  // namespace tessera::reference_model
