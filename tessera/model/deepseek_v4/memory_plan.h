// SPDX-License-Identifier: Apache-2.0
// The memory a rank promises to need before it takes any, and whether that is there.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/sharding.h"
#include "tessera/model/deepseek_v4/weight_table.h"

namespace tessera::model::deepseek_v4 {

struct WeightUse {
  bool rescales_experts = false;  // FP4 experts are made anew as e4m3 with 128x128 scales
  bool with_draft = false;        // MTP blocks are loaded; those of 0731 never are
  ExpertExchange experts = ExpertExchange::all_reduce;  // of several ranks
};

/// Anonymous memory under one name.
struct MemoryPart {
  std::string_view name;
  uint64_t bytes = 0;
};

/// Bytes of one rank.
struct MemoryPlan {
  uint64_t mapped = 0;  // weights read where the checkpoint has them; pages that can be dropped
  uint64_t copied = 0;  // weights made anew, and columns of matrices that ranks share
  /// Of `mapped`, what one token reads at least: everything but the experts it is not routed to,
  /// and of the embedding one row.
  uint64_t read_per_token = 0;
  std::vector<MemoryPart> working;  // caches, activations, ..

  uint64_t anonymous() const;
  uint64_t all() const { return mapped + anonymous(); }
};

/// Weights of one rank. `weights` is an expansion of the weight table.
MemoryPlan plan_rank(std::span<const WeightSpec> weights, const Config& config, Rank rank,
                     const WeightUse& use);
/// Of the rank that needs most.
MemoryPlan plan_weights(std::span<const WeightSpec> weights, const Config& config, int64_t ranks,
                        const WeightUse& use);

enum class Fit : uint8_t {
  resident,  // everything stays in memory
  streamed,  // only if weights are read from the disk again and again
  no,
};
Fit fit_into(const MemoryPlan& plan, uint64_t memory);

/// The largest multiple of 128 up to `most` whose plan is resident in `memory`; nullopt when none
/// is. `plan` grows with the context.
Result<std::optional<int64_t>> largest_context(
    const std::function<Result<MemoryPlan>(int64_t context)>& plan, uint64_t memory, int64_t most);

}  // namespace tessera::model::deepseek_v4
