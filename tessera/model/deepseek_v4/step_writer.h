// SPDX-License-Identifier: Apache-2.0
// Which programs a model runs, and how each is written: by the shape of a step and the bucket of
// positions its sequences lie in.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tessera/model/deepseek_v4/cache_layout.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/forward.h"
#include "tessera/model/deepseek_v4/model_options.h"
#include "tessera/model/deepseek_v4/step_tables.h"
#include "tessera/model/deepseek_v4/weights.h"

namespace tessera::model::deepseek_v4 {

/// One program.
struct StepKey {
  enum class Kind : uint8_t { kStep, kLayers, kDraft };
  Kind kind;
  StepShape shape;
  int64_t bucket = 0;
  size_t first = 0, last = 0;  // of kLayers
  friend auto operator<=>(const StepKey&, const StepKey&) = default;
};

class StepWriter {
 public:
  /// Positions: programs are built for buckets that double from here on, up to the context.
  static constexpr int64_t kSmallestBucket = 1024;
  static constexpr int64_t kCapturedRows = 64;

  /// The options are those check_options() takes.
  StepWriter(const Config& config, const ModelOptions& options);

  const Config& config() const { return config_; }
  const ModelOptions& options() const { return options_; }
  const Numerics& numerics() const { return numerics_; }
  const CacheLayout& caches() const { return caches_; }
  /// Of a residual stream of so many rows.
  int64_t stream_bytes(int64_t rows) const;
  /// Tables of the largest step with the logits of every row.
  int64_t table_words() const;

  /// Rows of a program for `rows` tokens: few distinct ones for long steps, and whole shares of the
  /// ranks where each keeps some.
  int64_t padded_rows(int64_t rows) const;
  StepKey key(StepKey::Kind kind, std::span<const Span> spans) const;
  /// The longest step.
  StepKey largest() const;
  /// Whether a step is captured.
  static bool is_captured(const StepKey& key) {
    return key.kind != StepKey::Kind::kLayers && key.shape.rows <= kCapturedRows;
  }
  /// Of the longest steps that are captured and that are not, the one that takes more memory.
  Result<int64_t> arena_bytes(const Weights& weights, const StepMemory& memory, const Ranks& ranks,
                              const Planning& planning) const;
  /// Steps for prompts and for decoding with and without drafts, of as many sequences as there are,
  /// whose programs have all the kernels that those of any other size have.
  std::vector<StepKey> representatives() const;
  /// The same and all sizes between them.
  std::vector<StepKey> all_sizes() const;

  StepTables tables(const StepKey& key) const;
  /// `ranks` has no communicators where a program is planned only.
  void write(ProgramBuilder& builder, const Weights& weights, const StepKey& key,
             const StepMemory& memory, const Ranks& ranks) const;

 private:
  std::vector<int64_t> buckets() const;
  /// Of at most so many rows.
  StepKey longest(int64_t rows) const;
  std::vector<StepKey> keys(std::span<const int64_t> rows) const;

  const Config config_;
  const ModelOptions options_;
  const Numerics numerics_;
  const std::vector<int64_t> ratios_;  // of the trunk's layers
  const CacheLayout caches_;
};

}  // namespace tessera::model::deepseek_v4
