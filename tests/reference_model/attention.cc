// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/attention.h"

#include <algorithm>
#include <cmath>

#include "tests/reference_model/norm.h"

namespace tessera::reference_model {

Attention::Attention(WeightReader& weights, const std::string& prefix, const Config& config,
                     int64_t ratio)
    : config_(config), ratio_(ratio), rope_(config, ratio != 0) {
  const int64_t q_width = config.num_attention_heads * config.head_dim;
  const int64_t o_width = config.o_groups * config.o_lora_rank;
  wq_a_ = weights.linear(prefix + "wq_a", config.q_lora_rank, config.hidden_size);
  q_norm_ = weights.vector(prefix + "q_norm.weight", config.q_lora_rank);
  wq_b_ = weights.linear(prefix + "wq_b", q_width, config.q_lora_rank);
  wkv_ = weights.linear(prefix + "wkv", config.head_dim, config.hidden_size);
  kv_norm_ = weights.vector(prefix + "kv_norm.weight", config.head_dim);
  wo_a_ = weights.linear(prefix + "wo_a", o_width, q_width / config.o_groups);
  wo_b_ = weights.linear(prefix + "wo_b", config.hidden_size, o_width);
  sink_ = weights.vector(prefix + "attn_sink", config.num_attention_heads);
  if (ratio != 0)
    compressor_ =
        Compressor(weights, prefix + "compressor.", config, ratio, Compressor::Use::attention);
  if (ratio == 4) indexer_ = Indexer(weights, prefix + "indexer.", config, ratio);
}

Rows Attention::forward(const Numerics& numerics, const Rows& x, AttentionState& state,
                        const Trace& trace) const {
  const int64_t start = state.kv.rows, head_dim = config_.head_dim;
  Rows qr = numerics.linear(wq_a_, x);
  rms_norm(numerics, q_norm_, config_.rms_norm_eps, qr);
  trace("qr", qr);
  Rows q = numerics.linear(wq_b_, qr);
  head_rms_norm(numerics, head_dim, config_.rms_norm_eps, q);
  Rows kv = numerics.linear(wkv_, x);
  rms_norm(numerics, kv_norm_, config_.rms_norm_eps, kv);
  for (int64_t t = 0; t < x.rows; ++t) {
    rope_.apply(numerics, q[t], head_dim, start + t);
    rope_.apply(numerics, kv[t], head_dim, start + t);
    numerics.simulate_fp8(kv[t].first(head_dim - config_.qk_rope_head_dim), 64);
  }
  trace("q", q);
  trace("kv", kv);
  state.kv.append(kv);

  std::vector<std::vector<int64_t>> selection;
  if (ratio_ == 4)
    selection =
        indexer_.select(numerics, rope_, x, qr, start, state.indexer, trace.within("indexer."));
  if (ratio_ != 0)
    compressor_.extend(numerics, rope_, x, state.compressor, trace.within("compressor."));

  Rows o(x.rows, q.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    Slots slots = window_slots(state.kv, start + t, start, x.rows);
    const Rows& entries = state.compressor.entries;
    if (ratio_ == 4) {
      for (const int64_t entry : selection[t]) slots.push_back(entries[entry]);
    } else if (ratio_ != 0) {
      for (int64_t entry = 0; entry < (start + t + 1) / ratio_; ++entry)
        slots.push_back(entries[entry]);
    }
    attend(numerics, q[t], slots, o[t]);
  }
  trace("o", o);
  for (int64_t t = 0; t < x.rows; ++t) rope_.apply(numerics, o[t], head_dim, start + t, true);

  // wo_a is no official `linear`: its FP8 weights are widened and its input is not quantised.
  Rows low_rank = grouped_product(wo_a_, o, config_.o_groups);
  numerics.bf16(low_rank);
  trace("o_low_rank", low_rank);
  return numerics.linear(wo_b_, low_rank);
}

/// Oldest first, then empty slots up to the official width, which decides where the blocks of the
/// softmax end. (The official ring is read from its oldest slot on, so decoding has this order
/// too.)
Attention::Slots Attention::window_slots(const Rows& kv, int64_t position, int64_t start,
                                         int64_t tokens) const {
  const int64_t window = config_.sliding_window;
  const int64_t first = std::max<int64_t>(position - window + 1, 0);
  Slots slots(start == 0 ? std::min(window, tokens) : window);
  for (int64_t p = first; p <= position; ++p) slots[p - first] = kv[p];
  return slots;
}

/// o = sum of softmax(q k) v with a sink in the denominator. Online over blocks of 64 slots: the
/// probabilities of a block are rounded to bf16 for the sum of values only, relative to the largest
/// score so far.
void Attention::attend(const Numerics& numerics, std::span<const double> q, const Slots& slots,
                       std::span<double> o) const {
  constexpr size_t kBlock = 64;
  const int64_t head_dim = config_.head_dim;
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  for (int64_t h = 0; h < config_.num_attention_heads; ++h) {
    const auto head = q.subspan(h * head_dim, head_dim);
    const auto sum = o.subspan(h * head_dim, head_dim);
    double largest = -INFINITY, denominator = 0;
    for (size_t begin = 0; begin < slots.size(); begin += kBlock) {
      const auto block = std::span(slots).subspan(begin, std::min(kBlock, slots.size() - begin));
      std::vector<double> scores(block.size(), -INFINITY);
      for (size_t j = 0; j < block.size(); ++j)
        if (!block[j].empty()) scores[j] = dot(head, block[j]) * scale;
      const double before = largest;
      for (const double score : scores) largest = std::max(largest, score);
      if (largest == -INFINITY) continue;
      const double shrink = std::exp(before - largest);
      denominator *= shrink;
      for (double& value : sum) value *= shrink;
      for (size_t j = 0; j < block.size(); ++j) {
        if (block[j].empty()) continue;
        const double probability = std::exp(scores[j] - largest);
        denominator += probability;
        const double rounded = numerics.bf16(probability);
        for (int64_t c = 0; c < head_dim; ++c) sum[c] += rounded * block[j][c];
      }
    }
    denominator += std::exp(sink_[h] - largest);
    for (double& value : sum) value = numerics.bf16(value / denominator);
  }
}

}  // namespace tessera::reference_model
