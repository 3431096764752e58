// SPDX-License-Identifier: Apache-2.0
// Attention of a layer: every head reads one shared row a position, of the last `window` positions
// and of compressed entries, either all of them (ratio 128) or those an indexer selects (ratio 4).
#pragma once

#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

/// x: the normalised rows of the step, plain too where the layer compresses.
Value attention(Pass& p, const AttentionWeights& w, const LayerCache& cache, const Activation& x);

/// Rows every token of the step attends to in layers of a ratio without selection
/// [T, window + entries].
Value all_indices(Pass& p, const RatioStep& step);

/// Whether layers of this ratio select among `entries` entries, rather than see all of them.
bool selects(const Config& config, int64_t ratio, int64_t entries);

}  // namespace tessera::model::deepseek_v4
