// SPDX-License-Identifier: Apache-2.0
// The feed-forward part of a layer: routed experts and one shared expert (model.py:565-644).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/reference_model/config.h"
#include "tests/reference_model/numerics.h"
#include "tests/reference_model/trace.h"

namespace tessera::reference_model {

/// w2(silu(w1 x) * (w3 x)), w1 x cut at +limit and w3 x at +-limit.
class Expert {
 public:
  Expert() = default;
  Expert(WeightReader& weights, const std::string& prefix, int64_t hidden, int64_t intermediate,
         double limit);

  /// x [T, hidden]; `routing` has a factor for each row, applied in front of w2; empty is 1.
  Rows forward(const Numerics& numerics, const Rows& x, std::span<const double> routing) const;

 private:
  double limit_ = 0;
  Matrix w1_, w2_, w3_;
};

class Moe {
 public:
  Moe() = default;
  /// `hash_routed` layers take their experts from a table over token ids.
  Moe(WeightReader& weights, const std::string& prefix, const Config& config, bool hash_routed);

  /// x [T, hidden] of the tokens `ids`; gives [T, hidden].
  Rows forward(const Numerics& numerics, const Rows& x, std::span<const int64_t> ids,
               const Trace& trace) const;

 private:
  /// Experts and their weights, both [T, num_experts_per_tok].
  void route(const Rows& x, std::span<const int64_t> ids, Rows& experts, Rows& weights,
             const Trace& trace) const;

  Config config_{};
  bool hash_routed_ = false;
  Matrix gate_;
  std::vector<double> bias_;
  Rows token_experts_;
  std::vector<Expert> experts_;
  Expert shared_;
};

}  // namespace tessera::reference_model
