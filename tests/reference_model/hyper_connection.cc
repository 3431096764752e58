// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/hyper_connection.h"

#include <algorithm>
#include <cmath>

namespace tessera::reference_model {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// (h fn^T) / rms(h), over all copies of a token at once.
Rows mixing_logits(const Matrix& fn, const Rows& h, double eps) {
  Rows logits = product(fn, h);
  for (int64_t t = 0; t < h.rows; ++t) {
    const double inverse = 1 / std::sqrt(dot(h[t], h[t]) / h.cols + eps);
    for (double& value : logits[t]) value *= inverse;
  }
  return logits;
}

/// sum over copies j of weights[j] h_j.
Rows weighted_sum(const Numerics& numerics, const Rows& h, const Rows& weights) {
  const int64_t copies = weights.cols, hidden = h.cols / copies;
  Rows y(h.rows, hidden);
  for (int64_t t = 0; t < h.rows; ++t)
    for (int64_t c = 0; c < hidden; ++c) {
      double sum = 0;
      for (int64_t j = 0; j < copies; ++j) sum += weights[t][j] * h[t][j * hidden + c];
      y[t][c] = numerics.bf16(sum);
    }
  return y;
}

}  // namespace

HyperConnection::HyperConnection(WeightReader& weights, const std::string& name,
                                 const Config& config)
    : copies_(config.hc_mult),
      iterations_(config.hc_sinkhorn_iters),
      eps_(config.hc_eps),
      norm_eps_(config.rms_norm_eps) {
  const int64_t outputs = (2 + copies_) * copies_;
  fn_ = weights.matrix(name + "_fn", outputs, copies_ * config.hidden_size);
  base_ = weights.vector(name + "_base", outputs);
  scale_ = weights.vector(name + "_scale", 3);
}

HyperConnection::Mix HyperConnection::mix(const Rows& h) const {
  const Rows logits = mixing_logits(fn_, h, norm_eps_);
  Mix mix{Rows(h.rows, copies_), Rows(h.rows, copies_), Rows(h.rows, copies_ * copies_)};
  for (int64_t t = 0; t < h.rows; ++t) {
    const auto m = logits[t];
    for (int64_t j = 0; j < copies_; ++j) {
      mix.pre[t][j] = sigmoid(m[j] * scale_[0] + base_[j]) + eps_;
      mix.post[t][j] = 2 * sigmoid(m[copies_ + j] * scale_[1] + base_[copies_ + j]);
    }
    const auto comb = mix.comb[t];
    for (size_t i = 0; i < comb.size(); ++i)
      comb[i] = m[2 * copies_ + i] * scale_[2] + base_[2 * copies_ + i];
    balance(comb);
  }
  return mix;
}

/// Sinkhorn: a softmax over each row, then columns and rows divided by their sums in turn, ending
/// with columns.
void HyperConnection::balance(std::span<double> comb) const {
  const int64_t n = copies_;
  const auto divide = [&](int64_t first, int64_t step) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += comb[first + i * step];
    for (int64_t i = 0; i < n; ++i) comb[first + i * step] /= sum + eps_;
  };
  for (int64_t j = 0; j < n; ++j) {
    const auto row = comb.subspan(j * n, n);
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (double& value : row) sum += value = std::exp(value - largest);
    for (double& value : row) value = value / sum + eps_;
  }
  for (int64_t k = 0; k < n; ++k) divide(k, n);
  for (int64_t i = 1; i < iterations_; ++i) {
    for (int64_t j = 0; j < n; ++j) divide(j * n, 1);
    for (int64_t k = 0; k < n; ++k) divide(k, n);
  }
}

Rows HyperConnection::before(const Numerics& numerics, const Rows& h, const Mix& mix) const {
  return weighted_sum(numerics, h, mix.pre);
}

Rows HyperConnection::after(const Numerics& numerics, const Rows& output, const Rows& h,
                            const Mix& mix) const {
  const int64_t hidden = output.cols;
  Rows next(h.rows, h.cols);
  for (int64_t t = 0; t < h.rows; ++t)
    for (int64_t k = 0; k < copies_; ++k)
      for (int64_t c = 0; c < hidden; ++c) {
        double sum = mix.post[t][k] * output[t][c];
        for (int64_t j = 0; j < copies_; ++j)
          sum += mix.comb[t][j * copies_ + k] * h[t][j * hidden + c];
        next[t][k * hidden + c] = numerics.bf16(sum);
      }
  return next;
}

HyperConnectionHead::HyperConnectionHead(WeightReader& weights, const std::string& prefix,
                                         const Config& config)
    : copies_(config.hc_mult), eps_(config.hc_eps), norm_eps_(config.rms_norm_eps) {
  fn_ = weights.matrix(prefix + "hc_head_fn", copies_, copies_ * config.hidden_size);
  base_ = weights.vector(prefix + "hc_head_base", copies_);
  scale_ = weights.vector(prefix + "hc_head_scale", 1);
}

Rows HyperConnectionHead::forward(const Numerics& numerics, const Rows& h) const {
  Rows weights = mixing_logits(fn_, h, norm_eps_);
  for (int64_t t = 0; t < h.rows; ++t)
    for (int64_t j = 0; j < copies_; ++j)
      weights[t][j] = sigmoid(weights[t][j] * scale_[0] + base_[j]) + eps_;
  return weighted_sum(numerics, h, weights);
}

}  // namespace tessera::reference_model
