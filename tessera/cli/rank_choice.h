// SPDX-License-Identifier: Apache-2.0
// Ways to share a model among some devices, side by side, and the one to take.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "tessera/model/deepseek_v4/communication_plan.h"
#include "tessera/model/deepseek_v4/memory_plan.h"

namespace tessera::cli {

struct RankChoice {
  model::deepseek_v4::Rank rank;          // as many ranks, reaching experts so
  model::deepseek_v4::MemoryPlan plan;    // of the rank that needs most
  model::deepseek_v4::LayerTraffic sent;  // in steps that have a row for every rank
  bool fits = false;
};

/// The fewest ranks that fit: devices that are left over hold copies of the model. Rows are
/// exchanged where a step of `sequences` tokens, too, has one for every rank. nullptr: none fits.
const RankChoice* recommended(const std::vector<RankChoice>& all, int64_t sequences);

void print_choices(const std::vector<RankChoice>& all, const RankChoice* best, int64_t devices,
                   uint64_t memory);
nlohmann::json choices_json(const std::vector<RankChoice>& all);

}  // namespace tessera::cli
