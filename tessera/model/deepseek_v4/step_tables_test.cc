// SPDX-License-Identifier: Apache-2.0
// The tables against what they mean, position by position.
#include "tessera/model/deepseek_v4/step_tables.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

namespace tessera::model::deepseek_v4 {
namespace {

const std::vector<int64_t> kRatios = {0, 4, 128, 4};

CacheLayout small_caches() {
  return plan_caches(kRatios, {.context = 1024,
                               .sequences = 3,
                               .largest_step = 64,
                               .window = 32,
                               .head_dim = 128,
                               .index_head_dim = 128,
                               .row_bytes = 256,
                               .index_row_bytes = 256});
}

TEST(CacheLayout, RegionsLieApartAndAddUp) {
  const CacheLayout caches = small_caches();
  EXPECT_EQ(caches.ring, 32 + 64 - 1 + CacheLayout::kRollback);
  std::map<int64_t, int64_t> regions;  // begin -> bytes
  const auto add = [&](int64_t offset, int64_t bytes) {
    EXPECT_TRUE(regions.emplace(offset, bytes).second);
  };
  for (const LayerCache& layer : caches.layers) {
    add(layer.kv_offset, 3 * caches.rows(layer.ratio) * 256);
    const int64_t state = 3 * CacheLayout::slots(layer.ratio) * 4;
    EXPECT_EQ(layer.state.width, layer.ratio == 0 ? 0 : layer.ratio == 4 ? 256 : 128);
    if (layer.ratio != 0) add(layer.state.kv_offset, state * layer.state.width);
    if (layer.ratio != 0) add(layer.state.score_offset, state * layer.state.width);
    if (layer.ratio != 4) continue;
    add(layer.index_offset, 3 * 256 * 256);
    add(layer.index_state.kv_offset, state * layer.index_state.width);
    add(layer.index_state.score_offset, state * layer.index_state.width);
  }
  int64_t end = 0;
  for (const auto& [offset, bytes] : regions) {
    EXPECT_GE(offset, end);
    EXPECT_EQ(offset % 256, 0);
    end = offset + bytes;
  }
  EXPECT_EQ(caches.bytes, (end + 255) / 256 * 256);
  EXPECT_EQ(caches.kv_bytes + caches.index_bytes + caches.state_bytes, caches.bytes);
}

class Tables {
 public:
  explicit Tables(std::vector<Span> spans, int64_t padding = 0) : spans_(std::move(spans)) {
    StepShape shape{padding, std::ssize(spans_), 0};
    for (const Span& span : spans_) {
      shape.rows += std::ssize(span.tokens);
      shape.logits += span.all_logits ? std::ssize(span.tokens) : 1;
    }
    tables_ = plan_step_tables(shape, kRatios);
    words_.assign(static_cast<size_t>(tables_.words), 99);
    fill_step_tables(tables_, caches_, spans_, words_);
  }
  std::vector<int32_t> operator()(const StepTable& table) const {
    const auto begin = words_.begin() + table.offset;
    return {begin, begin + table.length};
  }
  const StepTables& tables() const { return tables_; }
  const CacheLayout& caches() const { return caches_; }
  const std::vector<Span>& spans() const { return spans_; }

 private:
  CacheLayout caches_ = small_caches();
  std::vector<Span> spans_;
  StepTables tables_;
  std::vector<int32_t> words_;
};

TEST(StepTables, RowsOfSpans) {
  const std::vector<int32_t> a = {7, 8, 9}, b = {5};
  const Tables t({{.sequence = 2, .position = 10, .tokens = a, .all_logits = true},
                  {.sequence = 0, .position = 0, .tokens = b}},
                 /*padding=*/2);
  EXPECT_EQ(t(t.tables().tokens), (std::vector<int32_t>{7, 8, 9, 5, 0, 0}));
  EXPECT_EQ(t(t.tables().positions), (std::vector<int32_t>{10, 11, 12, 0, -1, -1}));
  EXPECT_EQ(t(t.tables().sequence), (std::vector<int32_t>{2, 2, 2, 0, 0, 0}));
  EXPECT_EQ(t(t.tables().logit_rows), (std::vector<int32_t>{0, 1, 2, 3}));
  const int32_t rows = static_cast<int32_t>(t.caches().rows(4));
  EXPECT_EQ(t(t.tables().of_ratio(4).window_slots),
            (std::vector<int32_t>{2 * rows + 10, 2 * rows + 11, 2 * rows + 12, 0, -1, -1}));
  EXPECT_EQ(t(t.tables().of_ratio(0).state_slots), std::vector<int32_t>());
}

/// Steps of every length from every position: each completed window appears once, and every one of
/// its positions is found in the step's rows or in the slot that an earlier step filled.
TEST(StepTables, EntriesFindTheirPositions) {
  for (const int64_t ratio : {4, 128}) {
    std::map<std::pair<int64_t, int64_t>, int64_t> kept;  // (sequence, slot) -> position
    int64_t position = 0;
    const std::vector<int32_t> tokens(64, 1);
    for (const int64_t length : {1, 2, 3, 4, 5, 64, 7, 1, 63, 64, 12, 64, 64, 40, 9, 64}) {
      const Span span{.sequence = 1,
                      .position = position,
                      .tokens = std::span(tokens).first(static_cast<size_t>(length))};
      const Tables t({span});
      const RatioTables& r = t.tables().of_ratio(ratio);
      const auto index = t(r.entry_index), first_row = t(r.entry_first_row),
                 first_position = t(r.entry_first_position), slots = t(r.entry_slots),
                 positions = t(r.entry_positions), index_slots = t(r.index_slots);
      std::set<int64_t> expected;
      for (int64_t p = position; p < position + length; ++p)
        if ((p + 1) % ratio == 0) expected.insert(p / ratio);
      for (size_t e = 0; e < index.size(); ++e) {
        if (index[e] < 0) {
          EXPECT_EQ(slots[e], -1);
          EXPECT_EQ(index_slots[e], -1);
          continue;
        }
        EXPECT_EQ(expected.erase(index[e]), 1u);
        EXPECT_EQ(slots[e], t.caches().entry_row(ratio, 1, index[e]));
        EXPECT_EQ(index_slots[e], t.caches().capacity(ratio) + index[e]);
        EXPECT_EQ(positions[e], index[e] * ratio);
        EXPECT_EQ(first_row[e], 0);
        EXPECT_EQ(first_position[e], position);
        const int64_t oldest = (index[e] - (CacheLayout::overlaps(ratio) ? 1 : 0)) * ratio;
        for (int64_t q = std::max<int64_t>(0, oldest); q < position; ++q)
          EXPECT_EQ((kept[{1, q % CacheLayout::slots(ratio)}]), q) << ratio << " " << index[e];
      }
      EXPECT_TRUE(expected.empty()) << ratio << " at " << position;
      const auto state = t(r.state_slots);
      std::set<int32_t> written;
      for (size_t i = 0; i < state.size(); ++i) {
        if (state[i] < 0) continue;
        EXPECT_TRUE(written.insert(state[i]).second) << "a slot is written once a step";
        kept[{1, state[i] - CacheLayout::slots(ratio)}] = position + static_cast<int64_t>(i);
      }
      position += length;
    }
  }
}

TEST(StepTables, EntriesOfManySpansFit) {
  std::vector<Span> spans;
  const std::vector<int32_t> tokens(5, 1);
  for (int32_t s = 0; s < 3; ++s)
    spans.push_back({.sequence = s, .position = 4 * s + 3, .tokens = tokens});
  const Tables t(spans);
  const RatioTables& r = t.tables().of_ratio(4);
  EXPECT_EQ(t(r.entry_sequence), (std::vector<int32_t>{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(t(r.entry_index), (std::vector<int32_t>{0, 1, 1, 2, 2, 3}));
  EXPECT_EQ(t(r.entry_first_row), (std::vector<int32_t>{0, 0, 5, 5, 10, 10}));
  EXPECT_EQ(t(r.entry_first_position), (std::vector<int32_t>{3, 3, 7, 7, 11, 11}));
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
