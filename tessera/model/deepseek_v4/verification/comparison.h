// SPDX-License-Identifier: Apache-2.0
// How far computed rows are from expected ones. Sums are in double; a NaN never looks good.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tessera/model/deepseek_v4/verification/rows.h"

namespace tessera::model::deepseek_v4 {

/// Index of the largest value, the lowest of equal ones.
int64_t argmax(std::span<const float> row);

/// a . b / (|a| |b|); 0 when that is not a number.
double cosine(std::span<const float> a, std::span<const float> b);

/// |actual - expected| / |expected|; infinity for NaN.
double row_error(std::span<const float> actual, std::span<const float> expected);

/// The value below which `share` of `values` lie: sorted[floor(share * (count - 1))].
double quantile(std::vector<double> values, double share);

/// Logits of one vector of a prompt, e.g. of its decode steps.
struct LogitsComparison {
  enum class Part : uint8_t { kPrompt, kSteps, kDraft };

  std::string name;  // "prompt_33.fp32.logits"
  Part part = Part::kPrompt;
  int64_t prompt_length = 0;
  int64_t rows = 0;
  double max_difference = 0;  // infinity for NaN
  double mean_cosine = 0, least_cosine = 0;
  int64_t equal_argmax = 0;
  // Tokens that greedy decoding picks, where the vectors say which: of `greedy_ids` the equal ones.
  int64_t greedy_ids = 0, equal_greedy_ids = 0;
};

/// Fills all but what identifies the vector and greedy ids. Both have the same shape, at least a
/// row.
LogitsComparison compare_logits(const Rows& actual, const Rows& expected);

/// How many of `ids` greedy decoding gives: the first from the last row of `prompt`, the others
/// from the rows of `steps`, which were fed ids one by one.
int64_t count_equal_greedy_ids(const Rows& prompt, const Rows& steps, std::span<const int32_t> ids);

/// What was summed for a row and for those it attends to: with the bits of f32, or partly by FP8
/// instructions.
enum class Sums : uint8_t { kExact, kCoarse };

/// Row errors of one layer over all prompts and decode steps.
class LayerErrors {
 public:
  /// `where`: "prompt_33 step 2".
  void add(Sums sums, const Rows& actual, const Rows& expected, const std::string& where);

  const std::vector<double>& of(Sums sums) const { return errors_[static_cast<size_t>(sums)]; }
  std::vector<double> all() const;
  double median() const { return quantile(all(), 0.5); }
  double percentile_90() const { return quantile(all(), 0.9); }
  double worst() const { return worst_; }
  /// "prompt_33 row 7"
  const std::string& worst_row() const { return worst_row_; }

 private:
  std::vector<double> errors_[2];  // by Sums
  double worst_ = -1;
  std::string worst_row_;
};

}  // namespace tessera::model::deepseek_v4
