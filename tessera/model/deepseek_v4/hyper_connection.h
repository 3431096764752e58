// SPDX-License-Identifier: Apache-2.0
// Manifold-constrained hyper-connections: the residual stream is hc_mult copies of the hidden
// state; a sublayer reads a weighted sum of them and its output is spread over their doubly
// stochastic mix.
#pragma once

#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

/// The residual stream, and a sublayer's output that the next mix() or unmix() adds to it.
struct Stream {
  Value h;           // [T, 4, D]
  Value f;           // [T, D]; absent: nothing is to be added
  Value post, comb;  // f32 [T, 4], [T, 4, 4]: how
};

/// What a sublayer reads, and the stream its output `f` is to be added to.
struct Mix {
  Activation x;  // [T, D], after the norm
  Stream stream;
};

/// `norm` is the weight of the norm in front of the sublayer.
Mix mix(Pass& p, const HyperWeights& w, const DeviceTensor& norm, const Stream& stream, Keep keep);
/// post[k] f + sum_j comb[j, k] h[j]: the stream after the sublayer, in `out`.
void unmix(Pass& p, const Stream& stream, Value out);
/// The weighted sum of the copies before the final norm [T, D].
Value collapse(Pass& p, const HyperWeights& w, Value h);

}  // namespace tessera::model::deepseek_v4
