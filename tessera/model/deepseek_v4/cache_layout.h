// SPDX-License-Identifier: Apache-2.0
// Where the caches of a model lie in one buffer. Every layer owns, for each sequence, rows
// addressed by position alone: nothing is shifted, nothing is reset when a sequence begins or a
// draft is rejected (docs/model.md, "Caches").
//
//   KV rows            [sequences, ring + capacity, row]   window position p: row p % ring;
//                                                          compressed entry i: row ring + i
//   index keys         [sequences, capacity, index row]    ratio 4
//   compressor state   f32 [sequences, slots, width] twice (kv, score): position q in slot q %
//   slots
#pragma once

#include <cstdint>
#include <vector>

namespace tessera::model::deepseek_v4 {

struct CacheOptions {
  int64_t context = 0;  // positions of a sequence
  int64_t sequences = 1;
  int64_t largest_step = 1;  // rows of one step
  int64_t window = 0;
  int64_t head_dim = 0, index_head_dim = 0;
  int64_t row_bytes = 0, index_row_bytes = 0;  // of a KV row and of an index key
};

/// A compressor's state of all sequences: f32 [sequences, slots, width] at each offset.
struct StateRegion {
  int64_t width = 0;  // 0: none
  int64_t kv_offset = 0, score_offset = 0;
};

struct LayerCache {
  int64_t ratio = 0;  // 0: window only
  int64_t kv_offset = 0, index_offset = 0;
  StateRegion state, index_state;  // of the main and of the indexer's compressor
};

/// A range of the buffer.
struct CacheRegion {
  int64_t offset = 0, bytes = 0;
};

struct CacheLayout {
  CacheOptions options;
  int64_t ring = 0;  // rows of the window of a sequence
  std::vector<LayerCache> layers;
  int64_t kv_bytes = 0, index_bytes = 0, state_bytes = 0;
  int64_t bytes = 0;  // of the buffer

  /// Positions that a step may take back (rejected drafts), at most.
  static constexpr int64_t kRollback = 16;

  /// Ratio 4 pools two windows, the older one with the first half of the columns, and selects
  /// entries by an indexer (model.py:286, :476).
  static bool overlaps(int64_t ratio) { return ratio == 4; }
  static bool is_indexed(int64_t ratio) { return ratio == 4; }
  /// State slots of a sequence: what the next entry may still need after a rollback.
  static int64_t slots(int64_t ratio) { return ratio * (overlaps(ratio) ? 2 : 1) + kRollback; }
  /// Entries of a sequence.
  int64_t capacity(int64_t ratio) const { return ratio == 0 ? 0 : options.context / ratio; }
  /// KV rows of a sequence.
  int64_t rows(int64_t ratio) const { return ring + capacity(ratio); }
  /// Row of all sequences together.
  int64_t window_row(int64_t ratio, int64_t sequence, int64_t position) const {
    return sequence * rows(ratio) + position % ring;
  }
  int64_t entry_row(int64_t ratio, int64_t sequence, int64_t entry) const {
    return sequence * rows(ratio) + ring + entry;
  }
  /// What a sequence overwrites as it goes on: rows of the window and the compressors' states. With
  /// them as they were at a position it can go on from there; its entries stay where they are.
  std::vector<CacheRegion> volatile_regions(int64_t sequence) const;
  /// Bytes of these regions, of one sequence.
  int64_t volatile_bytes() const;
};

/// One layer a ratio.
CacheLayout plan_caches(const std::vector<int64_t>& ratios, const CacheOptions& options);

}  // namespace tessera::model::deepseek_v4
