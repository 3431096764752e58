// SPDX-License-Identifier: Apache-2.0
// The mean that the compressor's pools share: over slots, weighted by the softmax of their scores,
// for each column on its own.
#pragma once

#include <limits>

#include "tessera/ops/frame/plan.h"

namespace tessera::ops::compressor {

constexpr double kNoScore = -std::numeric_limits<double>::infinity();

/// `walk(carried, step)` calls `carried = step(logit, value, carried)` for every tile of slots and
/// returns the last: logit() and value() give its f32 tiles of `shape`. Slots of one tile lie along
/// dimension 0 where the shape has two. f32 [cols], or [1, cols].
template <class Walk>
Tile softmax_mean(KernelBuilder& k, TileShape shape, Walk walk) {
  const bool tiled = shape.rank() == 2;
  const auto tops =
      walk(lang::carry(k.constant(DType::f32, shape, kNoScore)),
           [](auto logit, auto, auto top) { return lang::carry(max(top[0], logit())); });
  const Tile top = tiled ? reduce_max(tops[0], 0) : tops[0];
  const Tile zero = k.zeros(DType::f32, shape);
  const auto sums = walk(lang::carry(zero, zero), [&](auto logit, auto value, auto sum) {
    const Tile weight = exp(logit() - top);
    return lang::carry(sum[0] + weight, fma(weight, value(), sum[1]));
  });
  if (!tiled) return sums[1] / sums[0];
  return reduce_sum(sums[1], 0) / reduce_sum(sums[0], 0);
}

/// The same in one walk, for chips that compute faster than they read: sums are rescaled where a
/// larger score comes.
template <class Walk>
Tile softmax_mean_in_one_walk(KernelBuilder& k, TileShape shape, Walk walk) {
  const Tile zero = k.zeros(DType::f32, shape);
  // Not -inf, whose difference from itself is no number.
  const Tile lowest = k.constant(DType::f32, shape, std::numeric_limits<float>::lowest());
  const auto [top, weights, sum] =
      walk(lang::carry(lowest, zero, zero), [](auto logit, auto value, auto c) {
        const Tile score = logit(), top = max(c[0], score);
        const Tile shrink = exp(c[0] - top), weight = exp(score - top);
        return lang::carry(top, fma(c[1], shrink, weight), fma(c[2], shrink, weight * value()));
      });
  if (shape.rank() != 2) return sum / weights;
  const Tile shrink = exp(top - reduce_max(top, 0));
  return reduce_sum(sum * shrink, 0) / reduce_sum(weights * shrink, 0);
}

}  // namespace tessera::ops::compressor
