// SPDX-License-Identifier: Apache-2.0
// Hyper-connections: the residual stream is hc_mult copies of a token, mixed around each sublayer
// by weights that depend on the token (model.py:678, kernel.py:372).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/reference_model/config.h"
#include "tests/reference_model/numerics.h"
#include "tests/reference_model/trace.h"

namespace tessera::reference_model {

/// Around a sublayer f: h' = post f(pre h) + comb^T h.
class HyperConnection {
 public:
  /// The mixing weights of each token: pre and post [T, copies], comb [T, copies^2], doubly
  /// stochastic, entry [j * copies + k] from copy j to copy k.
  struct Mix {
    Rows pre, post, comb;
  };

  HyperConnection() = default;
  /// `name` is "hc_attn" or "hc_ffn" behind the layer's prefix.
  HyperConnection(WeightReader& weights, const std::string& name, const Config& config);

  Mix mix(const Rows& h) const;
  /// h [T, copies * hidden] -> [T, hidden].
  Rows before(const Numerics& numerics, const Rows& h, const Mix& mix) const;
  /// The sublayer's output [T, hidden] and h from before it -> [T, copies * hidden].
  Rows after(const Numerics& numerics, const Rows& output, const Rows& h, const Mix& mix) const;

 private:
  void balance(std::span<double> comb) const;

  int64_t copies_ = 0, iterations_ = 0;
  double eps_ = 0, norm_eps_ = 0;
  Matrix fn_;
  std::vector<double> base_, scale_;
};

/// In front of the head: the copies become one by a weighted sum (model.py:729).
class HyperConnectionHead {
 public:
  HyperConnectionHead() = default;
  HyperConnectionHead(WeightReader& weights, const std::string& prefix, const Config& config);

  Rows forward(const Numerics& numerics, const Rows& h) const;

 private:
  int64_t copies_ = 0;
  double eps_ = 0, norm_eps_ = 0;
  Matrix fn_;
  std::vector<double> base_, scale_;
};

}  // namespace tessera::reference_model
