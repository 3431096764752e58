// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/forward.h"

#include <fmt/format.h>

#include "tessera/base/check.h"
#include "tessera/model/deepseek_v4/attention.h"
#include "tessera/model/deepseek_v4/hyper_connection.h"
#include "tessera/model/deepseek_v4/moe.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// A transformer block (paper: figure 2) over the rows this rank keeps; its last output is still to
/// be added to the stream.
Stream layer(Pass& p, const LayerWeights& w, const LayerCache& cache, const Stream& stream) {
  p.b.section("hyper-connections");
  Mix a = mix(p, w.attention_mix, w.attention_norm, stream,
              cache.ratio == 0 ? Keep::kForLinears : Keep::kPlainToo);
  a.stream.f = attention(p, w.attention, cache, all_rows(p, a.x));
  p.b.section("hyper-connections");
  Mix m = mix(p, w.moe_mix, w.moe_norm, a.stream, Keep::kPlainToo);
  m.stream.f = moe(p, w.moe, m.x);
  return m.stream;
}

/// What follows the last block of a step: the stream of all rows goes to `out`.
void end_layers(Pass& p, const Stream& stream, Value out) {
  p.b.section("hyper-connections");
  if (!p.step.shares_rows()) return unmix(p, stream, out);
  const Value own = p.value(p.b.shape(stream.h));
  unmix(p, stream, own);
  const Value all = all_rows(p, own);
  const Shape flat = {p.step.rows, Config::kStreams * p.config.hidden_size};
  p.b.call("cast", {{"x", p.b.reshaped(all, flat)}, {"y", p.b.reshaped(out, flat)}});
}

/// Layers [first, last) of the trunk, from the stream h of the rows this rank keeps to that of all
/// rows in `out`.
void layers(Pass& p, const Weights& weights, size_t first, size_t last, Value h, Value out) {
  Stream stream{.h = h, .f = {}, .post = {}, .comb = {}};
  for (size_t i = first; i < last; ++i) {
    p.b.part(fmt::format("layer {}", i));
    stream = layer(p, weights.layers[i], p.caches.layers[i], stream);
  }
  end_layers(p, stream, out);
}

/// hc_mult equal copies of the tokens' embeddings [T, 4, D], of the rows this rank keeps.
Value embed(Pass& p, const DeviceTensor& table) {
  p.b.section("embedding");
  const Value x = own_rows(p, embedding(p, table));
  const Value h = p.value({p.step.own.count(), Config::kStreams, p.config.hidden_size});
  p.b.call("hc_expand", {{"x", x}, {"y", h}});
  return h;
}

void head(Pass& p, const HeadWeights& w, Value h, uint64_t logits) {
  p.b.part("head");
  p.b.section("head");
  const Value x = collapse(p, w.mix, h);
  const Value y = p.value(p.b.shape(x));
  p.b.call("rms_norm", {{"x", x}, {"w", p.weight(w.norm)}, {"y", y}}, {{"eps", p.config.norm_eps}});
  const int64_t rows = p.b.shape(p.step.logit_rows)[0];
  p.b.call("logits",
           {{"x", y},
            {"rows", p.step.logit_rows},
            {"w", p.weight(w.projection)},
            {"logits", p.b.bound({DType::f32, {rows, w.projection.desc.shape[0]}}, logits)}});
}

/// h[t, c] = e_proj(enorm(embedding of the next token)) + h_proj(hnorm(stream copy c)).
Value draft_input(Pass& p, const Weights& weights, Value stream) {
  const DraftWeights& w = *weights.draft;
  const int64_t rows = p.step.rows, copies = Config::kStreams, width = p.config.hidden_size;
  p.b.section("draft input");
  const Value embedded = embedding(p, weights.embedding);
  const Value e = linear(p, normalised(p, embedded, w.e_norm, Keep::kForLinears), w.e_proj);
  const Value taken = p.value({rows, copies * width});
  p.b.call("token_gather", {{"x", p.b.reshaped(stream, {p.b.shape(stream)[0], copies * width})},
                            {"slots", p.step.source_rows},
                            {"y", taken}});
  const Value flat = p.b.reshaped(taken, {rows * copies, width});
  const Value projected = linear(p, normalised(p, flat, w.h_norm, Keep::kForLinears), w.h_proj);
  const Value h = p.value({rows, copies, width});
  p.b.call("mtp_combine",
           {{"e", e}, {"p", p.b.reshaped(projected, {rows, copies, width})}, {"h", h}});
  return h;
}

// ---- the step around it ----

Value table(ProgramBuilder& b, const StepTable& t, uint64_t address) {
  return b.bound({DType::i32, {t.length}}, address + static_cast<uint64_t>(t.offset) * 4);
}

/// Angles of these positions: YaRN and the large base only where a layer compresses.
RopeTable rope(Pass& p, Value positions, bool compresses) {
  const int64_t length = p.b.shape(positions)[0];
  const RopeTable r{p.b.temporary(DType::f32, {length, 32}),
                    p.b.temporary(DType::f32, {length, 32})};
  const Config& c = p.config;
  const bool yarn = compresses && c.yarn_original_length != 0;
  p.b.call("rope_table", {{"positions", positions}, {"cos", r.cos}, {"sin", r.sin}},
           {{"theta", compresses ? c.compress_rope_theta : c.rope_theta},
            {"factor", yarn ? c.yarn_factor : 1},
            {"original", static_cast<double>(c.yarn_original_length)},
            {"beta_fast", c.yarn_beta_fast},
            {"beta_slow", c.yarn_beta_slow}});
  return r;
}

RatioStep begin_ratio(Pass& p, const RatioTables& t, const StepPlan& plan, uint64_t tables,
                      const RopeTable& row_rope) {
  ProgramBuilder& b = p.b;
  RatioStep step;
  step.ratio = t.ratio;
  step.row_rope = row_rope;
  step.window_slots = table(b, t.window_slots, tables);
  if (t.ratio != 0) {
    step.entries = plan.bucket / t.ratio;
    step.state_slots = table(b, t.state_slots, tables);
    step.entry_sequence = table(b, t.entry_sequence, tables);
    step.entry_index = table(b, t.entry_index, tables);
    step.entry_first_row = table(b, t.entry_first_row, tables);
    step.entry_first_position = table(b, t.entry_first_position, tables);
    step.entry_slots = table(b, t.entry_slots, tables);
    step.index_slots = table(b, t.index_slots, tables);
    step.entry_rope = rope(p, table(b, t.entry_positions, tables), true);
  }
  if (!selects(p.config, t.ratio, step.entries)) step.indices = all_indices(p, step);
  return step;
}

/// What the layers of a step share: its tables, angles and the indices nobody selects.
Pass begin(ProgramBuilder& b, const Config& config, const StepPlan& plan, const StepMemory& memory,
           const std::vector<int64_t>& ratios) {
  Pass p{b, config, plan.numerics, *plan.caches, memory.caches, plan.ranks, {}};
  const StepTables tables = plan_step_tables(plan.shape, ratios);
  b.part("before the layers");
  b.section("step tables");
  const int64_t rows = plan.shape.rows;
  const Rank rank = plan.ranks.rank;
  p.step.rows = rows;
  p.step.own = {0, rows};
  if (shares_rows(rank, rows)) {
    TESSERA_CHECK(rows % rank.count == 0, "{} rows are no shares of {} ranks", rows, rank.count);
    const int64_t share = rows / rank.count;
    p.step.own = {rank.number * share, (rank.number + 1) * share};
  }
  p.step.tokens = table(b, tables.tokens, memory.tables);
  p.step.positions = table(b, tables.positions, memory.tables);
  p.step.sequence = table(b, tables.sequence, memory.tables);
  p.step.source_rows = table(b, tables.source_rows, memory.tables);
  p.step.logit_rows = table(b, tables.logit_rows, memory.tables);
  p.step.numbers = table(b, tables.numbers, memory.tables);
  const bool plain = tables.ratios.front().ratio == 0, compresses = tables.ratios.back().ratio != 0;
  const RopeTable near = plain ? rope(p, p.step.positions, false) : RopeTable{};
  const RopeTable far = compresses ? rope(p, p.step.positions, true) : RopeTable{};
  for (const RatioTables& t : tables.ratios)
    p.step.ratios.push_back(begin_ratio(p, t, plan, memory.tables, t.ratio == 0 ? near : far));
  return p;
}

Value hidden(Pass& p, uint64_t address, int64_t rows) {
  return p.b.bound({p.numerics.activation, {rows, Config::kStreams, p.config.hidden_size}},
                   address);
}

}  // namespace

void write_step(ProgramBuilder& b, const Config& config, const Weights& weights,
                const StepPlan& plan, const StepMemory& memory) {
  Pass p = begin(b, config, plan, memory, plan.ratios);
  const Value h = hidden(p, memory.hidden, plan.shape.rows);
  layers(p, weights, 0, weights.layers.size(), embed(p, weights.embedding), h);
  head(p, weights.head, h, memory.logits);
}

void write_layers(ProgramBuilder& b, const Config& config, const Weights& weights,
                  const StepPlan& plan, const StepMemory& memory, size_t first, size_t last) {
  Pass p = begin(b, config, plan, memory, plan.ratios);
  const Value h = hidden(p, memory.hidden, plan.shape.rows);
  layers(p, weights, first, last, own_rows(p, h), h);
}

void write_draft(ProgramBuilder& b, const Config& config, const Weights& weights,
                 const StepPlan& plan, const StepMemory& memory, int64_t hidden_rows) {
  Pass p = begin(b, config, plan, memory, {0});
  const Value h = own_rows(p, draft_input(p, weights, hidden(p, memory.hidden, hidden_rows)));
  p.b.part("draft block");
  const Value out = hidden(p, memory.drafted, plan.shape.rows);
  end_layers(p,
             layer(p, weights.draft->layer, plan.caches->layers.back(),
                   {.h = h, .f = {}, .post = {}, .comb = {}}),
             out);
  head(p, weights.draft->head, out, memory.logits);
}

}  // namespace tessera::model::deepseek_v4
