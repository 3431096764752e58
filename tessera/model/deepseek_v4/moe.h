// SPDX-License-Identifier: Apache-2.0
// The mixture of experts: a router picks some experts for each token, by score or (in the first
// layers) by a table of token ids; their outputs and that of the shared expert are summed.
#pragma once

#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

/// x: the normalised rows that this rank keeps, plain too.
Value moe(Pass& p, const MoeWeights& w, const Activation& x);

/// Pairs (token, expert) of one expert that a program of the grouped products takes at once.
int64_t expert_block(int64_t pairs, int64_t experts, bool deterministic);

}  // namespace tessera::model::deepseek_v4
