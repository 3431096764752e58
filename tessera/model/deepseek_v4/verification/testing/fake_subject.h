// SPDX-License-Identifier: Apache-2.0
// For tests: a model of arithmetic. Its logits depend on all tokens before, as a model's do, so
// that a step in the wrong place or a chunk left out shows.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tessera/model/deepseek_v4/verification/subject.h"

namespace tessera::model::deepseek_v4 {

class FakeSubject final : public Subject {
 public:
  static constexpr int64_t kVocabulary = 8;

  explicit FakeSubject(int64_t largest_step = 512) : largest_step_(largest_step) {}

  /// Sums of larger steps are by FP8 instructions.
  void sum_exactly_up_to(int64_t rows) { most_exact_rows_ = rows; }
  /// A step that ends at this position fails.
  void fail_at(int64_t position) { fail_at_ = position; }

  int64_t largest_step() const override { return largest_step_; }
  int64_t most_exact_rows() const override { return most_exact_rows_; }

  Result<Rows> step(const Span& span) override {
    if (std::ssize(span.tokens) > largest_step_)
      return invalid_argument("a step of too many tokens");
    if (span.position + std::ssize(span.tokens) == fail_at_)
      return make_error(ErrorCode::device_lost, "the device is gone");
    if (span.position > std::ssize(history_)) return invalid_argument("a step after a gap");
    history_.resize(static_cast<size_t>(span.position));
    Rows rows(kVocabulary);
    for (const int32_t token : span.tokens) {
      history_.push_back(token);
      if (span.all_logits || history_.size() == span.position + span.tokens.size())
        rows.append(logits(0));
    }
    return rows;
  }
  Result<Rows> draft(const Span& span) override {
    EXPECT_EQ(span.position + std::ssize(span.tokens), std::ssize(history_));
    return Rows(kVocabulary, logits(span.tokens.back() + 1));
  }
  Result<Rows> layer(size_t index, const Span& span, const Rows& stream) override {
    EXPECT_EQ(stream.count(), std::ssize(span.tokens));
    return Rows(stream.columns, layer_of(index, span.position, stream.values));
  }

  /// What layer() does to the rows from `position` on.
  static std::vector<float> layer_of(size_t index, int64_t position, std::vector<float> values) {
    for (float& value : values) value = value * 2 + static_cast<float>(index);
    if (position > 0) values[0] += 1;
    return values;
  }

 private:
  std::vector<float> logits(int32_t salt) const {
    double sum = salt;
    for (const int32_t token : history_) sum = std::fmod(sum * 3.7 + token + 1, 29.0);
    std::vector<float> row;
    for (int i = 0; i < kVocabulary; ++i)
      row.push_back(static_cast<float>(std::sin(sum * (i + 1)) * 2));
    return row;
  }

  int64_t largest_step_;
  int64_t fail_at_ = -1, most_exact_rows_ = 512;
  std::vector<int32_t> history_;
};

}  // namespace tessera::model::deepseek_v4
