// SPDX-License-Identifier: Apache-2.0
// Compressed entries of the cache: every `ratio` positions are pooled to one key by gates of their
// own. Layers of ratio 4 pool a second, narrow set of keys by which an indexer selects entries.
#pragma once

#include "tessera/model/deepseek_v4/pass.h"

namespace tessera::model::deepseek_v4 {

/// Entries that this step completes go to their rows of the layer's cache; the step's own
/// projections are kept for entries to come. x [T, D] plain, rows: the layer's KV rows.
void compress_keys(Pass& p, const CompressorWeights& w, const LayerCache& cache, Value x,
                   Value rows);

/// The same for the indexer's keys.
void compress_index_keys(Pass& p, const CompressorWeights& w, const LayerCache& cache, Value x);

/// Entries with the largest scores, i32 [T, index_top_k], ascending, -1 at the end. `latent`: the
/// normalised low-rank queries of the layer.
Value select_entries(Pass& p, const IndexerWeights& w, const LayerCache& cache, Value x,
                     const Activation& latent);

}  // namespace tessera::model::deepseek_v4
