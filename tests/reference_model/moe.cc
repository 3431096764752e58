// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/moe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tessera::reference_model {
namespace {

double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }
double silu(double x) { return x / (1 + std::exp(-x)); }

}  // namespace

Expert::Expert(WeightReader& weights, const std::string& prefix, int64_t hidden,
               int64_t intermediate, double limit)
    : limit_(limit),
      w1_(weights.linear(prefix + "w1", intermediate, hidden)),
      w2_(weights.linear(prefix + "w2", hidden, intermediate)),
      w3_(weights.linear(prefix + "w3", intermediate, hidden)) {}

Rows Expert::forward(const Numerics& numerics, const Rows& x,
                     std::span<const double> routing) const {
  const Rows gate = numerics.linear(w1_, x);
  Rows inner = numerics.linear(w3_, x);
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < inner.cols; ++c) {
      double g = gate[t][c], u = inner[t][c];
      if (limit_ > 0) {
        g = std::min(g, limit_);
        u = std::clamp(u, -limit_, limit_);
      }
      inner[t][c] = numerics.bf16(silu(g) * u * (routing.empty() ? 1 : routing[t]));
    }
  }
  return numerics.linear(w2_, inner);
}

Moe::Moe(WeightReader& weights, const std::string& prefix, const Config& config, bool hash_routed)
    : config_(config), hash_routed_(hash_routed) {
  const int64_t hidden = config.hidden_size, intermediate = config.moe_intermediate_size;
  gate_ = weights.linear(prefix + "gate", config.n_routed_experts, hidden);
  if (hash_routed)
    token_experts_ =
        weights.table(prefix + "gate.tid2eid", config.vocab_size, config.num_experts_per_tok);
  else
    bias_ = weights.vector(prefix + "gate.bias", config.n_routed_experts);
  for (int64_t e = 0; e < config.n_routed_experts; ++e)
    experts_.emplace_back(weights, fmt::format("{}experts.{}.", prefix, e), hidden, intermediate,
                          config.swiglu_limit);
  shared_ = Expert(weights, prefix + "shared_experts.", hidden, intermediate, config.swiglu_limit);
}

Rows Moe::forward(const Numerics& numerics, const Rows& x, std::span<const int64_t> ids,
                  const Trace& trace) const {
  Rows chosen(x.rows, config_.num_experts_per_tok), weights = chosen;
  route(x, ids, chosen, weights, trace);
  trace("gate.ids", chosen);
  trace("gate.weights", weights);

  Rows y(x.rows, x.cols);
  for (size_t e = 0; e < experts_.size(); ++e) {
    std::vector<int64_t> tokens;
    std::vector<double> routing;
    Rows input(0, x.cols);
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t k = 0; k < chosen.cols; ++k)
        if (chosen[t][k] == static_cast<double>(e)) {
          tokens.push_back(t);
          routing.push_back(weights[t][k]);
          input.append(slice(x, t, t + 1));
        }
    if (tokens.empty()) continue;
    const Rows output = experts_[e].forward(numerics, input, routing);
    for (size_t i = 0; i < tokens.size(); ++i)
      for (int64_t c = 0; c < y.cols; ++c) y[tokens[i]][c] += output[i][c];
  }
  trace("routed", y);
  const Rows shared = shared_.forward(numerics, x, {});
  trace("shared", shared);
  for (size_t i = 0; i < y.values.size(); ++i)
    y.values[i] = numerics.bf16(y.values[i] + shared.values[i]);
  return y;
}

void Moe::route(const Rows& x, std::span<const int64_t> ids, Rows& experts, Rows& weights,
                const Trace& trace) const {
  Rows scores = product(gate_, x);
  for (double& score : scores.values) score = std::sqrt(softplus(score));
  trace("gate.scores", scores);
  for (int64_t t = 0; t < x.rows; ++t) {
    const auto picked = experts[t];
    if (hash_routed_) {
      const auto row = token_experts_[ids[t]];
      std::copy(row.begin(), row.end(), picked.begin());
    } else {  // the bias decides who is picked, not the weights
      std::vector<int64_t> order(scores.cols);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return scores[t][a] + bias_[a] > scores[t][b] + bias_[b];
      });
      std::copy_n(order.begin(), picked.size(), picked.begin());
    }
    double sum = 0;
    for (const double expert : picked) sum += scores[t][static_cast<int64_t>(expert)];
    for (size_t k = 0; k < picked.size(); ++k)
      weights[t][k] =
          scores[t][static_cast<int64_t>(picked[k])] / sum * config_.routed_scaling_factor;
  }
}

}  // namespace tessera::reference_model
