// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/memory_plan.h"

#include <algorithm>

namespace tessera::model::deepseek_v4 {
namespace {

/// Of an FP4 expert's matrix or scale: the bytes that stand for it as e4m3 with 128x128 scales.
uint64_t rescaled_bytes(const WeightSpec& weight) {
  const auto blocks = [](int64_t extent) {
    return (extent + Config::kFp8Block - 1) / Config::kFp8Block;
  };
  if (!weight.is_scale) return static_cast<uint64_t>(weight.shape[0] * weight.shape[1] * 2);
  return static_cast<uint64_t>(blocks(weight.shape[0]) *
                               blocks(weight.shape[1] * Config::kFp4Block));
}

}  // namespace

uint64_t MemoryPlan::anonymous() const {
  uint64_t bytes = copied;
  for (const MemoryPart& part : working) bytes += part.bytes;
  return bytes;
}

MemoryPlan plan_rank(std::span<const WeightSpec> weights, const Config& config, Rank rank,
                     const WeightUse& use) {
  MemoryPlan plan;
  uint64_t experts = 0;
  for (const WeightSpec& weight : weights) {
    if (weight.is_draft && !(use.with_draft && !config.dspark)) continue;
    const Slice slice = slice_of(weight, config, rank);
    const uint64_t bytes = slice.bytes(weight.dtype);
    if (bytes == 0) continue;
    const bool is_expert = weight.kind == WeightKind::routed_expert;
    if (is_expert && use.rescales_experts && config.expert_dtype == DType::f4e2m1) {
      plan.copied += rescaled_bytes(weight);
      continue;
    }
    (is_rows(slice, weight) ? plan.mapped : plan.copied) += bytes;
    if (is_expert)
      experts += bytes;
    else if (weight.kind != WeightKind::embedding)
      plan.read_per_token += bytes;
  }
  // With several ranks each token meets its share of them on average.
  plan.read_per_token += experts / static_cast<uint64_t>(config.experts) *
                         static_cast<uint64_t>(config.experts_per_token);
  return plan;
}

MemoryPlan plan_weights(std::span<const WeightSpec> weights, const Config& config, int64_t ranks,
                        const WeightUse& use) {
  MemoryPlan largest;
  for (int64_t r = 0; r < ranks; ++r) {
    MemoryPlan plan = plan_rank(weights, config, {r, ranks, use.experts}, use);
    if (r == 0 || plan.all() > largest.all()) largest = std::move(plan);
  }
  return largest;
}

Fit fit_into(const MemoryPlan& plan, uint64_t memory) {
  if (plan.all() <= memory) return Fit::resident;
  return plan.anonymous() <= memory ? Fit::streamed : Fit::no;
}

Result<std::optional<int64_t>> largest_context(
    const std::function<Result<MemoryPlan>(int64_t context)>& plan, uint64_t memory, int64_t most) {
  constexpr int64_t kStep = 128;
  int64_t fits = 0, fails = most / kStep + 1;                                     // in steps
  for (int64_t tried = 1; fails - fits > 1; tried = fits + (fails - fits) / 2) {  // the least first
    TESSERA_ASSIGN(const MemoryPlan at, plan(tried * kStep));
    if (fit_into(at, memory) == Fit::resident)
      fits = tried;
    else
      fails = tried;
  }
  if (fits == 0) return std::optional<int64_t>();
  return std::optional(fits * kStep);
}

}  // namespace tessera::model::deepseek_v4
