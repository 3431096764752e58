// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/indexer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tessera::reference_model {

Indexer::Indexer(WeightReader& weights, const std::string& prefix, const Config& config,
                 int64_t ratio)
    : ratio_(ratio),
      heads_(config.index_n_heads),
      head_dim_(config.index_head_dim),
      topk_(config.index_topk),
      compressor_(weights, prefix + "compressor.", config, ratio, Compressor::Use::indexer) {
  wq_b_ = weights.linear(prefix + "wq_b", heads_ * head_dim_, config.q_lora_rank);
  weights_proj_ = weights.linear(prefix + "weights_proj", heads_, config.hidden_size);
}

std::vector<std::vector<int64_t>> Indexer::select(const Numerics& numerics, const Rope& rope,
                                                  const Rows& x, const Rows& qr, int64_t start,
                                                  CompressorState& state,
                                                  const Trace& trace) const {
  Rows q = numerics.linear(wq_b_, qr);
  for (int64_t t = 0; t < q.rows; ++t) {
    rope.apply(numerics, q[t], head_dim_, start + t);
    for (int64_t h = 0; h < heads_; ++h) {
      const auto head = q[t].subspan(h * head_dim_, head_dim_);
      numerics.hadamard(head);
      numerics.simulate_fp4(head);
    }
  }
  trace("q", q);
  compressor_.extend(numerics, rope, x, state, trace.within("compressor."));
  Rows weights = numerics.linear(weights_proj_, x);
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim_ * heads_));
  for (double& weight : weights.values) weight = numerics.bf16(weight * scale);
  trace("weights", weights);

  // Entries that end after a token are hidden from it; their scores read -inf in the trace.
  Rows scores(x.rows, state.entries.rows, -INFINITY), picked(x.rows, topk_, -1);
  std::vector<std::vector<int64_t>> selection(x.rows);
  for (int64_t t = 0; t < x.rows; ++t) {
    const int64_t visible = (start + t + 1) / ratio_;
    const auto row = scores[t];
    for (int64_t entry = 0; entry < visible; ++entry)
      row[entry] = score(numerics, q[t], weights[t], state.entries[entry]);
    auto& best = selection[t];
    best.resize(visible);
    std::iota(best.begin(), best.end(), 0);
    std::stable_sort(best.begin(), best.end(),
                     [&](int64_t a, int64_t b) { return row[a] > row[b]; });
    best.resize(std::min(visible, topk_));
    std::copy(best.begin(), best.end(), picked[t].begin());
  }
  trace("scores", scores);
  trace("topk", picked);
  return selection;
}

double Indexer::score(const Numerics& numerics, std::span<const double> q,
                      std::span<const double> weights, std::span<const double> k) const {
  double sum = 0;
  for (int64_t h = 0; h < heads_; ++h) {
    const double match = numerics.bf16(dot(q.subspan(h * head_dim_, head_dim_), k));
    sum += numerics.bf16(std::max(match, 0.0) * weights[h]);
  }
  return numerics.bf16(sum);
}

}  // namespace tessera::reference_model
