// SPDX-License-Identifier: Apache-2.0
// Manifold-constrained hyper-connections: the residual stream is hc_mult copies of the hidden
// state; a sublayer reads a weighted sum of them and its output is spread over their doubly
// stochastic mix.
#pragma once

#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

/// What a sublayer reads and how its output returns to the stream.
struct Mix {
  Value x;           // [T, D]
  Value post, comb;  // f32 [T, 4], [T, 4, 4]
};

/// h [T, 4, D].
Mix mix(Pass& p, const HyperWeights& w, Value h);
/// post[k] f + sum_j comb[j, k] h[j]: the stream after the sublayer.
/// Written to `out` where given.
Value unmix(Pass& p, const Mix& mix, Value f, Value h, Value out = {});
/// The weighted sum of the copies before the final norm [T, D].
Value collapse(Pass& p, const HyperWeights& w, Value h);

}  // namespace tessera::model::deepseek_v4
