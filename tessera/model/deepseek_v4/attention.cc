// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/attention.h"

#include <cmath>

#include "tessera/model/deepseek_v4/compressor.h"
#include "tessera/model/deepseek_v4/kv_cache.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// Queries of all heads [T, H, D], normalised and rotated.
Value queries(Pass& p, const AttentionWeights& w, const Activation& latent, const RatioStep& step) {
  const int64_t heads = p.config.heads, width = p.config.head_dim;
  const Value flat = linear(p, latent, w.wq_b);
  const Value q = p.b.reshaped(flat, {p.step.rows, heads, width});
  p.b.call("q_norm_rope", {{"q", q}, {"cos", step.row_rope.cos}, {"sin", step.row_rope.sin}},
           {{"eps", p.config.norm_eps}, {"exact_fp32", p.numerics.official ? 0.0 : 1.0}});
  return q;
}

/// Heads back into the hidden state: rotated back, each group of heads through its low-rank matrix,
/// then all groups together.
Value output(Pass& p, const AttentionWeights& w, Value heads, const RatioStep& step) {
  p.b.call("rope_inverse", {{"x", heads}, {"cos", step.row_rope.cos}, {"sin", step.row_rope.sin}});
  const Shape& wo_a = w.wo_a.w.desc.shape;  // [groups, o_lora_rank, width of a group's heads]
  const Value grouped = p.b.reshaped(heads, {p.step.rows, wo_a[0], wo_a[2]});
  const Value low = p.value({p.step.rows, wo_a[0], wo_a[1]});
  p.b.call(
      "gemm_bf16_grouped",
      {{"x", grouped}, {"w", p.weight(w.wo_a.w)}, {"w_scale", p.weight(w.wo_a.scale)}, {"y", low}});
  const Value flat = p.b.reshaped(low, {p.step.rows, wo_a[0] * wo_a[1]});
  return linear(p, activation(p, flat), w.wo_b);
}

Value index_table(Pass& p, const RatioStep& step, Value selected, int64_t entries) {
  const Value indices = p.b.temporary(DType::i32, {p.step.rows, p.config.window + entries});
  p.b.call("attention_index",
           {{"positions", p.step.positions},
            {"sequence", p.step.sequence},
            {"selected", selected},
            {"indices", indices}},
           {{"window", static_cast<double>(p.config.window)},
            {"ratio", static_cast<double>(step.ratio)},
            {"ring", static_cast<double>(p.caches.ring)},
            {"capacity", static_cast<double>(p.caches.capacity(step.ratio))}});
  return indices;
}

}  // namespace

bool selects(const Config& config, int64_t ratio, int64_t entries) {
  return CacheLayout::is_indexed(ratio) && entries > config.index_top_k;
}

Value all_indices(Pass& p, const RatioStep& step) {
  return index_table(p, step, Value{}, step.entries);
}

Value attention(Pass& p, const AttentionWeights& w, const LayerCache& cache, const Activation& x) {
  const RatioStep& step = p.step.of_ratio(cache.ratio);
  const bool quantised = p.numerics.quantised_cache;
  const Value rows = kv_rows(p, cache);
  p.b.section("attention q, kv");
  const Activation latent = normalised(p, linear(p, x, w.wq_a), w.q_norm, Keep::kForLinears);
  const Value q = queries(p, w, latent, step);
  insert_rows(p, linear(p, x, w.wkv), w.kv_norm, step.row_rope, step.window_slots, rows);
  Value indices = step.indices;
  if (cache.ratio != 0) {
    p.b.section("compressor");
    compress_keys(p, w.compressor, cache, x.plain, rows);
  }
  if (CacheLayout::is_indexed(cache.ratio)) {
    p.b.section("indexer");
    compress_index_keys(p, w.indexer.compressor, cache, x.plain);
    if (!indices) {
      const Value selected = select_entries(p, w.indexer, cache, x.plain, latent);
      indices = index_table(p, step, selected, p.config.index_top_k);
    }
  }
  p.b.section("attention");
  const Value heads = p.value(p.b.shape(q));
  p.b.call("sparse_attention",
           {{"q", q},
            {"kv", quantised ? Value{} : rows},
            {"kv_quantised", quantised ? rows : Value{}},
            {"indices", indices},
            {"sink", p.weight(w.sink)},
            {"out", heads}},
           {{"scale", 1 / std::sqrt(static_cast<double>(p.config.head_dim))}});
  p.b.section("attention output");
  return output(p, w, heads, step);
}

}  // namespace tessera::model::deepseek_v4
