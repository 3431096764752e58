// SPDX-License-Identifier: Apache-2.0
// The limits. Those of fp32 are far above what order of summation does (4e-6 between two right
// implementations) and far below any mistake. Those of native are what right engines reach with
// flips and wrong ones (no KV simulation, another rounding of the q norm) do not.
#include <fmt/format.h>

#include <algorithm>

#include "tessera/model/deepseek_v4/verification/verification.h"

namespace tessera::model::deepseek_v4 {
namespace {

using Part = LogitsComparison::Part;

constexpr double kDifference = 2e-4;  // of an fp32 logit; their standard deviation is about 1
constexpr double kBf16Cosine = 0.99;
constexpr double kNativeCosine = 0.975, kNativeArgmax = 0.70;
constexpr double kLayerMedian = 2e-3, kLayerPercentile90 = 1.3e-2;
// FP8 instructions flip a few codes of every row, so that all rows are like the worst of the
// others.
constexpr double kCoarseMedian = 2.5e-2, kCoarsePercentile90 = 5e-2;
// Prompts in which next to nothing can flip.
constexpr int64_t kShortPrompt = 3;
constexpr double kShortCosine = 0.995;
// The official roundings against fp32: right models have 0.966 to 0.989, by their weights. It finds
// gross mistakes only.
constexpr double kRoundingCosine = 0.9;

/// Prompt and decode steps of all prompts together, every row counting the same.
struct Totals {
  double rows = 0, cosines = 0, equal_argmax = 0, max_difference = 0, unequal_greedy_ids = 0;

  explicit Totals(const std::vector<LogitsComparison>& vectors) {
    for (const LogitsComparison& vector : vectors) {
      if (vector.part == Part::kDraft) continue;
      const auto count = static_cast<double>(vector.rows);
      rows += count;
      cosines += count * vector.mean_cosine;
      equal_argmax += static_cast<double>(vector.equal_argmax);
      max_difference = std::max(max_difference, vector.max_difference);
      unequal_greedy_ids += static_cast<double>(vector.greedy_ids - vector.equal_greedy_ids);
    }
  }
};

void judge_short_prompts(const Verification& all, Part part, std::vector<LimitCheck>& checks) {
  for (const LogitsComparison& vector : all.vectors)
    if (vector.part == part && vector.prompt_length <= kShortPrompt)
      checks.push_back(
          {fmt::format("cosine of {}", vector.name), vector.least_cosine, kShortCosine, true});
}

void judge_layers(const std::vector<LayerErrors>& layers, Sums sums,
                  std::vector<LimitCheck>& checks) {
  // One flipped code of a KV row moves all rows that attend to it: only all layers together tell.
  std::vector<double> errors;
  for (const LayerErrors& layer : layers)
    errors.insert(errors.end(), layer.of(sums).begin(), layer.of(sums).end());
  if (errors.empty()) return;
  const bool exact = sums == Sums::kExact;
  const std::string_view where = exact ? "all layers" : "all layers by FP8 instructions";
  checks.push_back({fmt::format("median row error of {}", where), quantile(errors, 0.5),
                    exact ? kLayerMedian : kCoarseMedian});
  checks.push_back({fmt::format("90th percentile of row errors of {}", where),
                    quantile(errors, 0.9), exact ? kLayerPercentile90 : kCoarsePercentile90});
}

}  // namespace

std::vector<LimitCheck> judge(const Verification& all) {
  std::vector<LimitCheck> checks;
  const Totals totals(all.vectors);
  const bool exact = all.precision == Precision::fp32;
  if (exact) {
    checks.push_back({"largest difference of a logit", totals.max_difference, kDifference});
    checks.push_back({"greedy ids that differ", totals.unequal_greedy_ids, 0});
    return checks;
  }
  const bool official = all.expected == Numbers::native;
  const double cosine = all.precision == Precision::bf16 ? kBf16Cosine
                        : official                       ? kNativeCosine
                                                         : kRoundingCosine;
  checks.push_back({"mean cosine of logits", totals.cosines / totals.rows, cosine, true});
  if (all.precision != Precision::native || !official) return checks;
  checks.push_back(
      {"share of equal argmax", totals.equal_argmax / totals.rows, kNativeArgmax, true});
  judge_short_prompts(all, Part::kPrompt, checks);
  judge_short_prompts(all, Part::kDraft, checks);
  judge_layers(all.layers, Sums::kExact, checks);
  judge_layers(all.layers, Sums::kCoarse, checks);
  return checks;
}

}  // namespace tessera::model::deepseek_v4
