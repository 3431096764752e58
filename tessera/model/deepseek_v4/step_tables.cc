// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/step_tables.h"

#include <algorithm>
#include <numeric>

#include "tessera/base/check.h"

namespace tessera::model::deepseek_v4 {
namespace {

class Words {
 public:
  explicit Words(std::span<int32_t> words) : words_(words) {}
  std::span<int32_t> operator()(const StepTable& table) const {
    return words_.subspan(static_cast<size_t>(table.offset), static_cast<size_t>(table.length));
  }

 private:
  std::span<int32_t> words_;
};

void fill_rows(const StepTables& tables, std::span<const Span> spans, const Words& words) {
  const auto tokens = words(tables.tokens), positions = words(tables.positions),
             sequence = words(tables.sequence), logits = words(tables.logit_rows);
  std::ranges::fill(tokens, 0);
  std::ranges::fill(positions, -1);
  std::ranges::fill(sequence, 0);
  size_t row = 0, wanted = 0;
  for (const Span& span : spans) {
    for (size_t i = 0; i < span.tokens.size(); ++i, ++row) {
      tokens[row] = span.tokens[i];
      positions[row] = static_cast<int32_t>(span.position + static_cast<int64_t>(i));
      sequence[row] = span.sequence;
      if (span.all_logits || i + 1 == span.tokens.size())
        logits[wanted++] = static_cast<int32_t>(row);
    }
  }
  TESSERA_CHECK(wanted == logits.size(), "{} rows of logits, {} planned", wanted, logits.size());
}

void fill_slots(const RatioTables& t, const CacheLayout& caches, std::span<const Span> spans,
                const Words& words) {
  const auto window = words(t.window_slots), state = words(t.state_slots);
  std::ranges::fill(window, -1);
  std::ranges::fill(state, -1);
  size_t row = 0;
  for (const Span& span : spans) {
    const auto length = std::ssize(span.tokens);
    for (int64_t i = 0; i < length; ++i, ++row) {
      const int64_t position = span.position + i;
      window[row] = static_cast<int32_t>(caches.window_row(t.ratio, span.sequence, position));
      if (t.ratio == 0) continue;
      const int64_t slots = CacheLayout::slots(t.ratio);
      if (i + slots >= length)
        state[row] = static_cast<int32_t>(span.sequence * slots + position % slots);
    }
  }
}

void fill_entries(const RatioTables& t, const CacheLayout& caches, std::span<const Span> spans,
                  const Words& words) {
  const auto sequence = words(t.entry_sequence), index = words(t.entry_index),
             first_row = words(t.entry_first_row), first_position = words(t.entry_first_position),
             slots = words(t.entry_slots), index_slots = words(t.index_slots),
             positions = words(t.entry_positions);
  for (const auto table : {sequence, first_row, first_position, positions})
    std::ranges::fill(table, 0);
  for (const auto table : {index, slots, index_slots}) std::ranges::fill(table, -1);
  size_t e = 0;
  int64_t row = 0;
  for (const Span& span : spans) {
    const auto length = std::ssize(span.tokens);
    for (int64_t i = span.position / t.ratio; i < (span.position + length) / t.ratio; ++i, ++e) {
      sequence[e] = span.sequence;
      index[e] = static_cast<int32_t>(i);
      first_row[e] = static_cast<int32_t>(row);
      first_position[e] = static_cast<int32_t>(span.position);
      slots[e] = static_cast<int32_t>(caches.entry_row(t.ratio, span.sequence, i));
      index_slots[e] = static_cast<int32_t>(span.sequence * caches.capacity(t.ratio) + i);
      positions[e] = static_cast<int32_t>(i * t.ratio);
    }
    row += length;
  }
}

}  // namespace

int64_t StepShape::entries(int64_t ratio) const {
  return ratio == 0 ? 0 : std::min(rows, rows / ratio + spans);
}

const RatioTables& StepTables::of_ratio(int64_t ratio) const {
  const auto found =
      std::ranges::find_if(ratios, [&](const RatioTables& t) { return t.ratio == ratio; });
  TESSERA_CHECK(found != ratios.end(), "no layer has ratio {}", ratio);
  return *found;
}

StepTables plan_step_tables(const StepShape& shape, const std::vector<int64_t>& ratios) {
  StepTables tables;
  const auto take = [&](int64_t length) {
    const StepTable table{tables.words, length};
    tables.words += (length + 15) / 16 * 16;  // 64 bytes
    return table;
  };
  tables.tokens = take(shape.rows);
  tables.positions = take(shape.rows);
  tables.sequence = take(shape.rows);
  tables.source_rows = take(shape.rows);
  tables.logit_rows = take(shape.logits);
  tables.numbers = take(StepTables::kNumbers);
  std::vector<int64_t> distinct = ratios;
  std::ranges::sort(distinct);
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  for (int64_t ratio : distinct) {
    const int64_t entries = shape.entries(ratio);
    RatioTables t;
    t.ratio = ratio;
    t.window_slots = take(shape.rows);
    t.state_slots = take(ratio == 0 ? 0 : shape.rows);
    for (StepTable RatioTables::* table :
         {&RatioTables::entry_sequence, &RatioTables::entry_index, &RatioTables::entry_first_row,
          &RatioTables::entry_first_position, &RatioTables::entry_slots, &RatioTables::index_slots,
          &RatioTables::entry_positions})
      t.*table = take(entries);
    tables.ratios.push_back(t);
  }
  return tables;
}

void fill_step_tables(const StepTables& tables, const CacheLayout& caches,
                      std::span<const Span> spans, std::span<int32_t> words) {
  const Words table(words);
  fill_rows(tables, spans, table);
  const auto numbers = table(tables.numbers);
  std::iota(numbers.begin(), numbers.end(), 0);
  for (const RatioTables& t : tables.ratios) {
    fill_slots(t, caches, spans, table);
    if (t.ratio != 0) fill_entries(t, caches, spans, table);
  }
}

}  // namespace tessera::model::deepseek_v4
