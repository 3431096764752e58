// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/compressor.h"

#include <algorithm>
#include <cmath>

#include "tests/reference_model/norm.h"

namespace tessera::reference_model {

Compressor::Compressor(WeightReader& weights, const std::string& prefix, const Config& config,
                       int64_t ratio, Use use)
    : use_(use),
      ratio_(ratio),
      head_dim_(use == Use::indexer ? config.index_head_dim : config.head_dim),
      rope_dim_(config.qk_rope_head_dim),
      eps_(config.rms_norm_eps),
      overlap_(ratio == 4) {
  const int64_t width = overlap_ ? 2 * head_dim_ : head_dim_;
  wkv_ = weights.linear(prefix + "wkv", width, config.hidden_size);
  wgate_ = weights.linear(prefix + "wgate", width, config.hidden_size);
  ape_ = weights.table(prefix + "ape", ratio, width);
  norm_ = weights.vector(prefix + "norm.weight", head_dim_);
}

void Compressor::extend(const Numerics& numerics, const Rope& rope, const Rows& x,
                        CompressorState& state, const Trace& trace) const {
  Rows score = product(wgate_, x);
  for (int64_t t = 0; t < x.rows; ++t) {
    const auto position_bias = ape_[(state.kv.rows + t) % ratio_];
    for (int64_t c = 0; c < score.cols; ++c) score[t][c] += position_bias[c];
  }
  state.kv.append(product(wkv_, x));
  state.score.append(score);

  Rows fresh(0, head_dim_);
  for (int64_t entry = state.entries.rows; (entry + 1) * ratio_ <= state.kv.rows; ++entry) {
    Rows pooled = pool(state, entry);
    numerics.bf16(pooled);
    rms_norm(numerics, norm_, eps_, pooled);
    rope.apply(numerics, pooled[0], head_dim_, entry * ratio_);
    if (use_ == Use::indexer) {
      numerics.hadamard(pooled[0]);
      numerics.simulate_fp4(pooled[0]);
    } else {
      numerics.simulate_fp8(pooled[0].first(head_dim_ - rope_dim_), 64);
    }
    fresh.append(pooled);
  }
  state.entries.append(fresh);
  trace("entries", fresh);
}

Rows Compressor::pool(const CompressorState& state, int64_t entry) const {
  // With overlap the first half of the columns belongs to the window before, the second half to
  // this one. In front of the first window there is nothing.
  struct Slot {
    int64_t token, column;
  };
  std::vector<Slot> slots;
  if (overlap_ && entry > 0)
    for (int64_t r = 0; r < ratio_; ++r) slots.push_back({(entry - 1) * ratio_ + r, 0});
  for (int64_t r = 0; r < ratio_; ++r)
    slots.push_back({entry * ratio_ + r, overlap_ ? head_dim_ : 0});

  Rows pooled(1, head_dim_);
  for (int64_t c = 0; c < head_dim_; ++c) {
    double largest = -INFINITY;
    for (const Slot& slot : slots)
      largest = std::max(largest, state.score[slot.token][slot.column + c]);
    double weight_sum = 0, sum = 0;
    for (const Slot& slot : slots) {
      const double weight = std::exp(state.score[slot.token][slot.column + c] - largest);
      weight_sum += weight;
      sum += weight * state.kv[slot.token][slot.column + c];
    }
    pooled[0][c] = sum / weight_sum;
  }
  return pooled;
}

}  // namespace tessera::reference_model
