// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/step_writer.h"

#include <algorithm>
#include <bit>
#include <set>

#include "tessera/model/deepseek_v4/kv_cache.h"

namespace tessera::model::deepseek_v4 {
namespace {

int64_t rows_of(std::span<const Span> spans) {
  int64_t rows = 0;
  for (const Span& span : spans) rows += std::ssize(span.tokens);
  return rows;
}

int64_t logits_of(std::span<const Span> spans) {
  int64_t rows = 0;
  for (const Span& span : spans) rows += span.all_logits ? std::ssize(span.tokens) : 1;
  return rows;
}

std::vector<int64_t> trunk_ratios(const Config& config) {
  std::vector<int64_t> ratios;
  for (const Config::Layer& layer : config.layers) ratios.push_back(layer.ratio);
  return ratios;
}

CacheLayout caches_of(const Config& config, const ModelOptions& options, const Numerics& numerics) {
  std::vector<int64_t> ratios = trunk_ratios(config);
  if (options.mtp) ratios.push_back(0);
  return plan_caches(
      ratios, {.context = options.context,
               .sequences = options.sequences,
               .largest_step = options.largest_step,
               .window = config.window,
               .head_dim = config.head_dim,
               .index_head_dim = config.index_head_dim,
               .row_bytes = kv_row_bytes(config, numerics).value(),
               .index_row_bytes = size_in_bytes(numerics.activation, config.index_head_dim)});
}

}  // namespace

StepWriter::StepWriter(const Config& config, const ModelOptions& options)
    : config_(config),
      options_(options),
      numerics_(Numerics::of(options)),
      ratios_(trunk_ratios(config)),
      caches_(caches_of(config, options, numerics_)) {}

int64_t StepWriter::padded_rows(int64_t rows) const {
  const int64_t step = rows <= 16 ? 1 : rows <= 64 ? 8 : 64;
  const int64_t few = (rows + step - 1) / step * step;
  if (!shares_rows(options_.rank, few)) return few;
  const int64_t ranks = options_.rank.count;
  return (few + ranks - 1) / ranks * ranks;
}

int64_t StepWriter::stream_bytes(int64_t rows) const {
  return rows * size_in_bytes(numerics_.activation, Config::kStreams * config_.hidden_size);
}

int64_t StepWriter::table_words() const {
  StepShape shape = largest().shape;
  shape.logits = shape.rows;
  return plan_step_tables(shape, ratios_).words;
}

StepKey StepWriter::key(StepKey::Kind kind, std::span<const Span> spans) const {
  int64_t end = 1;
  for (const Span& span : spans) end = std::max(end, span.position + std::ssize(span.tokens));
  const int64_t doubled =
      std::max(kSmallestBucket, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(end))));
  return {.kind = kind,
          .shape = {padded_rows(rows_of(spans)), std::ssize(spans), logits_of(spans)},
          .bucket = kind == StepKey::Kind::kDraft ? 0 : std::min(doubled, options_.context)};
}

StepKey StepWriter::longest(int64_t rows) const {
  const int64_t spans = std::min(options_.sequences, rows);
  return {.kind = StepKey::Kind::kStep,
          .shape = {padded_rows(rows), spans, spans},
          .bucket = options_.context};
}

StepKey StepWriter::largest() const { return longest(options_.largest_step); }

Result<int64_t> StepWriter::arena_bytes(const Weights& weights, const StepMemory& memory,
                                        const Ranks& ranks, const Planning& planning) const {
  int64_t most = 0;
  int64_t captured = std::min(options_.largest_step, kCapturedRows);
  while (!is_captured(longest(captured))) --captured;  // padded to what ranks can share
  for (const int64_t rows : {options_.largest_step, captured}) {
    ProgramBuilder builder;
    write(builder, weights, longest(rows), memory, ranks);
    TESSERA_ASSIGN(const int64_t bytes, builder.arena_bytes(planning));
    most = std::max(most, bytes);
  }
  return most;
}

std::vector<int64_t> StepWriter::buckets() const {
  std::vector<int64_t> all = {std::min(kSmallestBucket, options_.context)};
  while (all.back() < options_.context) all.push_back(std::min(2 * all.back(), options_.context));
  return all;
}

std::vector<StepKey> StepWriter::keys(std::span<const int64_t> rows) const {
  using Kind = StepKey::Kind;
  std::vector<StepKey> all;
  // Each of several sequences decodes a token, with drafts two, and wants the logits of every row.
  const int64_t decoded = options_.sequences > 1 ? padded_rows(2 * options_.sequences) : 0;
  const auto add = [&](Kind kind, int64_t bucket) {
    for (const int64_t count : rows) {
      all.push_back({kind, {count, 1, 1}, bucket});
      if (count <= decoded) all.push_back({kind, {count, 1, count}, bucket});
    }
  };
  for (const int64_t bucket : buckets()) {
    add(Kind::kStep, bucket);
    // A token and the draft of the next one.
    if (options_.mtp) all.push_back({Kind::kStep, {2, 1, 2}, bucket});
  }
  if (options_.mtp) add(Kind::kDraft, 0);
  return all;
}

std::vector<StepKey> StepWriter::representatives() const {
  // Classes of sizes, of rows as of what follows from them (entries, pairs of a row and an expert),
  // begin and end at powers of two.
  std::set<int64_t> rows;
  for (int64_t power = 1; power <= options_.largest_step; power *= 2) {
    rows.insert(padded_rows(power));
    rows.insert(padded_rows(std::min(power + 1, options_.largest_step)));
  }
  rows.insert(padded_rows(options_.largest_step));
  return keys(std::vector(rows.begin(), rows.end()));
}

std::vector<StepKey> StepWriter::all_sizes() const {
  std::set<int64_t> rows;
  for (int64_t count = 1; count <= options_.largest_step; ++count) rows.insert(padded_rows(count));
  return keys(std::vector(rows.begin(), rows.end()));
}

StepTables StepWriter::tables(const StepKey& key) const {
  return plan_step_tables(key.shape,
                          key.kind == StepKey::Kind::kDraft ? std::vector<int64_t>{0} : ratios_);
}

void StepWriter::write(ProgramBuilder& builder, const Weights& weights, const StepKey& key,
                       const StepMemory& memory, const Ranks& ranks) const {
  if (is_captured(key)) builder.keep_apart();
  const StepPlan plan{key.shape, key.bucket, &caches_, ratios_, numerics_, ranks};
  switch (key.kind) {
    case StepKey::Kind::kStep: return write_step(builder, config_, weights, plan, memory);
    case StepKey::Kind::kLayers:
      return write_layers(builder, config_, weights, plan, memory, key.first, key.last);
    case StepKey::Kind::kDraft:
      return write_draft(builder, config_, weights, plan, memory, largest().shape.rows);
  }
}

}  // namespace tessera::model::deepseek_v4
