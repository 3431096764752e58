// SPDX-License-Identifier: Apache-2.0
// The compressor: `ratio` tokens become one KV entry by a gated sum, one gate a dimension
// (model.py:316).
#pragma once

#include <cstdint>
#include <string>

#include "tests/reference_model/numerics.h"
#include "tests/reference_model/rope.h"
#include "tests/reference_model/trace.h"

namespace tessera::reference_model {

/// What a sequence has seen. The official code keeps the rows of two windows only.
struct CompressorState {
  Rows kv, score;  // a row for each token so far
  Rows entries;    // a row for each complete window
};

class Compressor {
 public:
  /// What happens to finished entries: those that attention reads are rounded like KV rows, those
  /// of the indexer are rotated and rounded to FP4.
  enum class Use { attention, indexer };

  Compressor() = default;
  Compressor(WeightReader& weights, const std::string& prefix, const Config& config, int64_t ratio,
             Use use);

  /// Takes x [T, hidden], the tokens from position state.kv.rows on, and appends the entries that
  /// they complete.
  void extend(const Numerics& numerics, const Rope& rope, const Rows& x, CompressorState& state,
              const Trace& trace) const;

 private:
  Rows pool(const CompressorState& state, int64_t entry) const;

  Use use_ = Use::attention;
  int64_t ratio_ = 0, head_dim_ = 0, rope_dim_ = 0;
  double eps_ = 0;
  bool overlap_ = false;  // ratio 4: an entry also sees the window before its own
  Matrix wkv_, wgate_;
  Rows ape_;
  std::vector<double> norm_;
};

}  // namespace tessera::reference_model
