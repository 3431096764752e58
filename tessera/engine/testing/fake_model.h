// SPDX-License-Identifier: Apache-2.0
// For tests: a model whose logits are a hash of the last tokens, kept in a ring as the real caches
// are. A use that a real model would punish silently (a row read after it was overwritten, a step
// that begins too far back or leaves a gap) is reported as a failure.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "tessera/engine/language_model.h"

namespace tessera::engine {

struct FakeModelOptions {
  int64_t vocabulary = 300, context = 200, largest_step = 16, rollback = 4, window = 8;
  int32_t sequences = 1;
  bool drafts = true, snapshots = false;
  int wrong_drafts = 3;              // of 10
  std::vector<TokenId> always = {};  // these tokens, by position, whatever the prompt
};

class FakeModel : public LanguageModel {
 public:
  explicit FakeModel(FakeModelOptions options = {})
      : options_(std::move(options)),
        rings_(static_cast<size_t>(options_.sequences)),
        saved_(rings_.size()) {
    for (Ring& ring : rings_)
      ring.rows.resize(
          static_cast<size_t>(options_.window + options_.largest_step + options_.rollback));
  }

  int64_t vocabulary() const override { return options_.vocabulary; }
  int64_t context() const override { return options_.context; }
  int32_t sequences() const override { return options_.sequences; }
  int64_t largest_step() const override { return options_.largest_step; }
  int64_t rollback() const override { return options_.rollback; }
  bool drafts() const override { return options_.drafts; }
  bool snapshots() const override { return options_.snapshots; }
  Result<> save(int32_t sequence) override {
    EXPECT_TRUE(options_.snapshots);
    saved_[static_cast<size_t>(sequence)] = rings_[static_cast<size_t>(sequence)];
    return {};
  }
  Result<> restore(int32_t sequence) override {
    const auto& saved = saved_[static_cast<size_t>(sequence)];
    EXPECT_TRUE(saved);
    if (saved) rings_[static_cast<size_t>(sequence)] = *saved;
    return {};
  }
  std::optional<int64_t> saved(int32_t sequence) const override {
    const auto& saved = saved_[static_cast<size_t>(sequence)];
    return saved ? std::optional(saved->end) : std::nullopt;
  }

  Result<std::span<const float>> step(std::span<const TokenSpan> spans) override {
    ++steps;
    logits_.clear();
    last_.clear();
    int64_t rows = 0;
    for (const TokenSpan& span : spans) {
      rows += std::ssize(span.tokens);
      write(span);
      for (size_t i = 0; i < span.tokens.size(); ++i)
        if (span.all_logits || i + 1 == span.tokens.size())
          add_logits(choice(span.sequence, span.position + static_cast<int64_t>(i)));
      last_.push_back({span.sequence, span.position, span.position + std::ssize(span.tokens)});
    }
    EXPECT_LE(rows, options_.largest_step);
    tokens_run += rows;
    if (fail_at_step == steps) return internal_error("the device is gone");
    return std::span<const float>(logits_);
  }

  /// Knows what the model itself will choose and is wrong at times.
  Result<std::span<const float>> draft(std::span<const TokenSpan> spans) override {
    EXPECT_TRUE(options_.drafts);
    logits_.clear();
    for (const TokenSpan& span : spans) {
      const int64_t end = span.position + std::ssize(span.tokens);
      const bool known = std::ranges::any_of(last_, [&](const Rows& rows) {
        return rows.sequence == span.sequence && rows.first <= span.position && end <= rows.end;
      });
      EXPECT_TRUE(known) << "no rows " << span.position << " to " << end << " in the last step";
      const uint64_t hash = mix(hash_of(span.sequence, end - 1), span.tokens.back());
      const bool wrong = static_cast<int>(hash % 10) < options_.wrong_drafts;
      add_logits((choice_after(span.sequence, end - 1, span.tokens.back()) + (wrong ? 1 : 0)) %
                 static_cast<TokenId>(options_.vocabulary));
    }
    return std::span<const float>(logits_);
  }

  int steps = 0;
  int64_t tokens_run = 0;
  int fail_at_step = -1;

 private:
  struct Row {
    int64_t position = -1;
    TokenId token = 0;
  };
  struct Ring {
    std::vector<Row> rows;
    int64_t end = 0, highest = 0;
  };
  struct Rows {
    int32_t sequence;
    int64_t first, end;
  };

  static uint64_t mix(uint64_t hash, int64_t value) {
    hash = (hash ^ static_cast<uint64_t>(value)) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 29);
  }

  void write(const TokenSpan& span) {
    ASSERT_LT(span.sequence, options_.sequences);
    ASSERT_FALSE(span.tokens.empty());
    Ring& ring = rings_[static_cast<size_t>(span.sequence)];
    if (span.position == 0) ring.highest = 0;
    EXPECT_LE(span.position, ring.highest) << "a gap";
    EXPECT_LE(ring.highest - span.position, options_.rollback) << "too far back";
    EXPECT_LE(span.position + std::ssize(span.tokens), options_.context);
    for (int64_t i = 0; i < std::ssize(span.tokens); ++i) {
      const int64_t position = span.position + i;
      ring.rows[static_cast<size_t>(position) % ring.rows.size()] = {
          position, span.tokens[static_cast<size_t>(i)]};
    }
    ring.end = span.position + std::ssize(span.tokens);
    ring.highest = std::max(ring.highest, ring.end);
    auto& saved = saved_[static_cast<size_t>(span.sequence)];
    if (saved && span.position < saved->end) saved.reset();
  }

  uint64_t hash_of(int32_t sequence, int64_t position) const {
    const Ring& ring = rings_[static_cast<size_t>(sequence)];
    uint64_t hash = 1;
    for (int64_t p = std::max<int64_t>(0, position - options_.window + 1); p <= position; ++p) {
      const Row& row = ring.rows[static_cast<size_t>(p) % ring.rows.size()];
      EXPECT_EQ(row.position, p) << "read a row that was overwritten";
      hash = mix(hash, row.token);
    }
    return hash;
  }

  TokenId choice(int32_t sequence, int64_t position) const {
    if (static_cast<size_t>(position) < options_.always.size())
      return options_.always[static_cast<size_t>(position)];
    return static_cast<TokenId>(hash_of(sequence, position) %
                                static_cast<uint64_t>(options_.vocabulary));
  }

  /// What choice() will say once `next` stands behind `position`.
  TokenId choice_after(int32_t sequence, int64_t position, TokenId next) const {
    if (static_cast<size_t>(position + 1) < options_.always.size())
      return options_.always[static_cast<size_t>(position + 1)];
    uint64_t hash = 1;
    const Ring& ring = rings_[static_cast<size_t>(sequence)];
    for (int64_t p = std::max<int64_t>(0, position - options_.window + 2); p <= position; ++p)
      hash = mix(hash, ring.rows[static_cast<size_t>(p) % ring.rows.size()].token);
    return static_cast<TokenId>(mix(hash, next) % static_cast<uint64_t>(options_.vocabulary));
  }

  void add_logits(TokenId best) {
    const size_t begin = logits_.size();
    for (int64_t i = 0; i < options_.vocabulary; ++i)
      logits_.push_back(static_cast<float>(mix(static_cast<uint64_t>(best) + 7, i) % 1000) * 1e-3f);
    logits_[begin + static_cast<size_t>(best)] = 1.5f;
  }

  FakeModelOptions options_;
  std::vector<Ring> rings_;
  std::vector<std::optional<Ring>> saved_;
  std::vector<Rows> last_;
  std::vector<float> logits_;
};

}  // namespace tessera::engine
