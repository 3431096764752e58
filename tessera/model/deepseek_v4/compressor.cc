// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/compressor.h"

#include <cmath>

#include "tessera/model/deepseek_v4/kv_cache.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// Pools the entries this step completes [E, columns], then keeps the step's rows in the state.
Value pool(Pass& p, const CompressorWeights& w, int64_t ratio, const StateRegion& state, Value x) {
  const RatioStep& step = p.step.of_ratio(ratio);
  const int64_t sequences = p.caches.options.sequences, slots = CacheLayout::slots(ratio);
  const bool overlap = CacheLayout::overlaps(ratio);
  const Value kv = linear_f32(p, x, w.wkv), score = linear_f32(p, x, w.wgate);
  const Value state_kv = p.cached(DType::f32, {sequences, slots, state.width}, state.kv_offset),
              state_score =
                  p.cached(DType::f32, {sequences, slots, state.width}, state.score_offset);
  const Value y = p.value({p.b.shape(step.entry_index)[0], state.width / (overlap ? 2 : 1)});
  const Value ape = p.weight(w.ape);
  p.b.call("compressor_pool",
           {{"kv", kv},
            {"score", score},
            {"ape", ape},
            {"state_kv", state_kv},
            {"state_score", state_score},
            {"entry_sequence", step.entry_sequence},
            {"entry_index", step.entry_index},
            {"entry_first_row", step.entry_first_row},
            {"entry_first_position", step.entry_first_position},
            {"y", y}},
           {{"ratio", static_cast<double>(ratio)}, {"overlap", overlap ? 1.0 : 0.0}});
  const Shape flat{sequences * slots, state.width};
  p.b.call("compressor_state_write", {{"kv", kv},
                                      {"score", score},
                                      {"ape", ape},
                                      {"positions", p.step.positions},
                                      {"state_slots", step.state_slots},
                                      {"state_kv", p.b.reshaped(state_kv, flat)},
                                      {"state_score", p.b.reshaped(state_score, flat)}});
  return y;
}

Value index_keys(Pass& p, const LayerCache& cache, Shape shape) {
  return p.cached(p.numerics.activation, shape, cache.index_offset);
}

}  // namespace

void compress_keys(Pass& p, const CompressorWeights& w, const LayerCache& cache, Value x,
                   Value rows) {
  const RatioStep& step = p.step.of_ratio(cache.ratio);
  const Value pooled = pool(p, w, cache.ratio, cache.state, x);
  insert_rows(p, pooled, w.norm, step.entry_rope, step.entry_slots, rows);
}

void compress_index_keys(Pass& p, const CompressorWeights& w, const LayerCache& cache, Value x) {
  const RatioStep& step = p.step.of_ratio(cache.ratio);
  const Value pooled = pool(p, w, cache.ratio, cache.index_state, x);
  const int64_t rows = p.caches.options.sequences * p.caches.capacity(cache.ratio);
  p.b.call("index_key_insert",
           {{"x", pooled},
            {"w", p.weight(w.norm)},
            {"cos", step.entry_rope.cos},
            {"sin", step.entry_rope.sin},
            {"slots", step.index_slots},
            {"keys", index_keys(p, cache, {rows, p.config.index_head_dim})}},
           {{"eps", p.config.norm_eps}, {"simulate", p.numerics.official ? 1.0 : 0.0}});
}

Value select_entries(Pass& p, const IndexerWeights& w, const LayerCache& cache, Value x,
                     const Activation& latent) {
  const RatioStep& step = p.step.of_ratio(cache.ratio);
  const int64_t heads = w.weights_proj.desc.shape[0], width = p.config.index_head_dim;
  const Value q = p.b.reshaped(linear(p, latent, w.wq_b), {p.step.rows, heads, width});
  p.b.call("index_query", {{"q", q}, {"cos", step.row_rope.cos}, {"sin", step.row_rope.sin}},
           {{"simulate", p.numerics.official ? 1.0 : 0.0}});
  const Value weights = p.value({p.step.rows, heads});
  p.b.call("gemm_bf16", {{"x", x}, {"w", p.weight(w.weights_proj)}, {"y", weights}});
  const Value scores = p.value({p.step.rows, step.entries});
  const double ratio = static_cast<double>(cache.ratio);
  p.b.call("indexer_scores",
           {{"q", q},
            {"k", index_keys(p, cache,
                             {p.caches.options.sequences, p.caches.capacity(cache.ratio), width})},
            {"w", weights},
            {"positions", p.step.positions},
            {"sequence", p.step.sequence},
            {"scores", scores}},
           {{"ratio", ratio},
            {"weight_scale", 1 / std::sqrt(static_cast<double>(width * p.config.index_heads))}});
  // Ranks that share the heads have parts of the scores.
  if (heads < p.config.index_heads) p.b.all_reduce(scores, comm::Reduction::sum, p.ranks.world);
  const Value selected = p.b.temporary(DType::i32, {p.step.rows, p.config.index_top_k});
  p.b.call("top_k", {{"scores", scores}, {"positions", p.step.positions}, {"indices", selected}},
           {{"ratio", ratio}});
  if (p.ranks.differ) p.b.broadcast(selected, 0, p.ranks.world);
  return selected;
}

}  // namespace tessera::model::deepseek_v4
