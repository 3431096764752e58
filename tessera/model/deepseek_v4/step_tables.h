// SPDX-License-Identifier: Apache-2.0
// The integers of a step: everything about it that the host knows and kernels read, in one buffer
// of i32 that is sent with one copy (docs/model.md, "A step").
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/model/deepseek_v4/cache_layout.h"

namespace tessera::model::deepseek_v4 {

/// Consecutive tokens of one sequence.
struct Span {
  int32_t sequence = 0;
  int64_t position = 0;  // of the first token
  std::span<const int32_t> tokens;
  bool all_logits = false;  // logits of every row, not of the last one only
};

/// What programs of a step are built for.
struct StepShape {
  int64_t rows = 0;  // tokens, padded
  int64_t spans = 0;
  int64_t logits = 0;  // rows whose logits are asked for
  friend auto operator<=>(const StepShape&, const StepShape&) = default;

  /// Compressed entries that spans of so many rows complete, at most.
  int64_t entries(int64_t ratio) const;
};

/// A range of the buffer, in words.
struct StepTable {
  int64_t offset = 0, length = 0;
};

/// Tables of the layers of one ratio; those of entries are empty for ratio 0.
struct RatioTables {
  int64_t ratio = 0;
  StepTable window_slots;  // [rows] KV row the token's own key goes to, -1: none
  StepTable state_slots;   // [rows] state slot the row is kept in; -1: a later row takes it
  // [entries]: entry `index` of `sequence`; position q is row first_row + q - first_position of
  // this step where q >= first_position, else in the state. Unused: index and slots -1.
  StepTable entry_sequence, entry_index, entry_first_row, entry_first_position;
  StepTable entry_slots;      // KV row of the entry
  StepTable index_slots;      // row of its index key
  StepTable entry_positions;  // its rope position, index * ratio
};

struct StepTables {
  StepTable tokens, positions, sequence;  // [rows]; a row that pads has position -1
  StepTable source_rows;                  // [rows] of the residual stream, for drafts
  StepTable logit_rows;                   // [logits]
  StepTable numbers;                      // [kNumbers]: 0, 1, 2, ..
  static constexpr int64_t kNumbers = 256;
  std::vector<RatioTables> ratios;  // ascending
  int64_t words = 0;

  const RatioTables& of_ratio(int64_t ratio) const;
};

/// `ratios`: those of the model's layers, in any order, with repetitions.
StepTables plan_step_tables(const StepShape& shape, const std::vector<int64_t>& ratios);

/// Writes all tables. The spans have valid sequences and positions, at most shape.rows rows and no
/// sequence twice.
void fill_step_tables(const StepTables& tables, const CacheLayout& caches,
                      std::span<const Span> spans, std::span<int32_t> words);

}  // namespace tessera::model::deepseek_v4
