// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/attention.h"

#include <cmath>

#include "tessera/model/deepseek_v4/compressor.h"
#include "tessera/model/deepseek_v4/kv_cache.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// Queries of the rank's heads [T, H, D], normalised and rotated.
Value queries(Pass& p, const AttentionWeights& w, const Activation& latent, const RatioStep& step) {
  const int64_t width = p.config.head_dim, heads = w.wq_b.w.desc.shape[0] / width;
  const Value flat = linear(p, latent, w.wq_b);
  const Value q = p.b.reshaped(flat, {p.step.rows, heads, width});
  p.b.call("q_norm_rope", {{"q", q}, {"cos", step.row_rope.cos}, {"sin", step.row_rope.sin}},
           {{"eps", p.config.norm_eps}, {"exact_fp32", p.numerics.official ? 0.0 : 1.0}});
  return q;
}

/// One o-group of several ranks: each has some heads of it, so its product with wo_a [1, N, K] is a
/// part of the sum. Parts are added and the sum is scattered: a rank keeps N / ranks columns.
Value scattered(Pass& p, const AttentionWeights& w, Value grouped) {
  const int64_t rows = p.step.rows, outputs = w.wo_a.w.desc.shape[1];
  const int64_t ranks = ranks_per_group(p.config, p.ranks.rank.count), part = outputs / ranks;
  const Value sums = p.b.temporary(DType::f32, {ranks, rows, part});
  const Value weight = p.weight(w.wo_a.w), scale = p.weight(w.wo_a.scale);
  if (rows == 1) {
    p.b.call("gemm_bf16_grouped", {{"x", grouped},
                                   {"w", weight},
                                   {"w_scale", scale},
                                   {"y", p.b.reshaped(sums, {1, 1, outputs})}});
  } else {
    constexpr int64_t kBlock = Config::kFp8Block;
    for (int64_t r = 0; r < ranks; ++r)
      p.b.call("gemm_bf16_grouped",
               {{"x", grouped},
                {"w", p.b.narrowed(weight, 1, r * part, part)},
                {"w_scale",
                 scale ? p.b.narrowed(scale, 1, r * part / kBlock, (part + kBlock - 1) / kBlock)
                       : Value{}},
                {"y", p.b.reshaped(p.b.narrowed(sums, 0, r, 1), {rows, 1, part})}});
  }
  const Value own = p.b.temporary(DType::f32, {rows, part});
  p.b.section("o-group sums");
  p.b.reduce_scatter(sums, own, p.ranks.group);
  return rounded(p, own);
}

/// Heads back into the hidden state: rotated back, each group of heads through its low-rank matrix,
/// then all groups together.
Value output(Pass& p, const AttentionWeights& w, Value heads, const RatioStep& step) {
  p.b.call("rope_inverse", {{"x", heads}, {"cos", step.row_rope.cos}, {"sin", step.row_rope.sin}});
  const Shape& wo_a =
      w.wo_a.w.desc.shape;  // [groups, o_lora_rank, width of the rank's heads of one]
  const Value grouped = p.b.reshaped(heads, {p.step.rows, wo_a[0], wo_a[2]});
  if (ranks_per_group(p.config, p.ranks.rank.count) > 1) {
    const Value own = scattered(p, w, grouped);
    const Activation in = splits_output_blocks(p.config, p.ranks.rank.count)
                              ? part_of_block(p, own, p.ranks.output_block)
                              : activation(p, own);
    return summed(p, partial_linear(p, in, w.wo_b), "attention sum");
  }
  const Value low = p.value({p.step.rows, wo_a[0], wo_a[1]});
  p.b.call(
      "gemm_bf16_grouped",
      {{"x", grouped}, {"w", p.weight(w.wo_a.w)}, {"w_scale", p.weight(w.wo_a.scale)}, {"y", low}});
  const Activation in = activation(p, p.b.reshaped(low, {p.step.rows, wo_a[0] * wo_a[1]}));
  if (!p.ranks.several()) return linear(p, in, w.wo_b);
  return summed(p, partial_linear(p, in, w.wo_b), "attention sum");
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
