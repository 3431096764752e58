// SPDX-License-Identifier: Apache-2.0
// Refuses a model that the memory does not hold, with the numbers and what would fit.
#pragma once

#include <cstdint>
#include <optional>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/memory_plan.h"

namespace tessera::model::deepseek_v4 {

struct MemoryFit {
  uint64_t memory = 0;                          // bytes to be had
  int64_t context = 0;                          // that `plan` is for
  std::optional<int64_t> largest_context = {};  // that fits
  /// Weights may be read from the disk again for every token.
  bool may_stream = false;
};

/// Errors (out_of_memory): what is needed besides the weights does not fit; everything together
/// does not fit and `may_stream` is false.
Result<> check_fit(const MemoryPlan& plan, const MemoryFit& fit);

}  // namespace tessera::model::deepseek_v4
