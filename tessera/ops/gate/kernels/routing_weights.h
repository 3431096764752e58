// SPDX-License-Identifier: Apache-2.0
// Weights of the chosen experts: their unbiased scores, normalised and scaled.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tessera/ops/frame/operator.h"
#include "tessera/ops/gate/sqrt_softplus.h"

namespace tessera::ops::gate {

/// Columns of a tile that are filled one after the other.
class Columns {
 public:
  Columns(KernelBuilder& k, DType dtype, int64_t rows, int64_t count)
      : index_(k.iota({rows, count}, 1)), values_(k.zeros(dtype, {rows, count})) {}
  void set(int64_t column, Tile values) { values_ = select(index_ == column, values, values_); }
  Tile tile() const { return values_; }

 private:
  Tile index_, values_;
};

/// chosen[j] [rows, 1] f32: score of the j-th expert. Sums in the order of j, as stored.
inline Tile normalised(KernelBuilder& k, const std::vector<Tile>& chosen, int64_t rows,
                       int64_t columns, double scale) {
  Columns weights(k, DType::f32, rows, columns);
  Tile sum = chosen[0];
  for (size_t j = 1; j < chosen.size(); ++j) sum = sum + chosen[j];
  for (size_t j = 0; j < chosen.size(); ++j)
    weights.set(static_cast<int64_t>(j), chosen[j] / sum * scale);
  return weights.tile();
}

/// The scores of a kernel: as they are given, or from logits.
inline Tile scores_of(Tile given, bool logits) { return logits ? SqrtSoftplus::of(given) : given; }
/// One of a reference.
inline double score(const Reference& r, int64_t t, int64_t e) {
  const double given = r.in("scores").at({t, e});
  return r.problem().flag("logits") ? SqrtSoftplus::expected(given) : given;
}

/// The same for one token of a reference.
inline void reference_weights(const Reference& r, int64_t t, const std::vector<int64_t>& experts) {
  double sum = 0;
  for (int64_t e : experts) sum += score(r, t, e);
  for (size_t j = 0; j < experts.size(); ++j)
    r.out("weights").set({t, static_cast<int64_t>(j)},
                         score(r, t, experts[j]) / sum * r.attribute("scale"));
}

/// J - 1 additions, a division and a product; logits have the errors of sqrt_softplus, twice.
inline Tolerance tolerance(const Problem& p) {
  const double steps = static_cast<double>(p.dim("J") + 2) + (p.flag("logits") ? 16 : 0);
  return {.relative = steps * 0x1p-24};
}

/// Scores as sqrt_softplus gives them, all different: 1e-5 apart at least, so that a bias of order
/// 0.1 or a rounding cannot make or hide a tie. Or their logits.
inline void fill_scores(Inputs& in) {
  HostTensor& scores = in.tensor("scores");
  const int64_t E = scores.extent(1);
  std::vector<int64_t> rank(static_cast<size_t>(E));
  for (int64_t e = 0; e < E; ++e) rank[static_cast<size_t>(e)] = e;
  for (int64_t t = 0; t < scores.extent(0); ++t) {
    std::shuffle(rank.begin(), rank.end(), in.random());
    for (int64_t e = 0; e < E; ++e) {
      const double place = static_cast<double>(rank[static_cast<size_t>(e)]);
      const double score = 0.05 + 2.0 * (place + in.uniform(0.1, 0.9)) / static_cast<double>(E);
      const bool logits = in.problem().flag("logits");
      scores.set({t, e}, logits ? std::log(std::expm1(score * score)) : score);
    }
  }
}

}  // namespace tessera::ops::gate
