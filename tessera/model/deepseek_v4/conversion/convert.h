// SPDX-License-Identifier: Apache-2.0
// Carries a conversion out. A file appears when it is whole; config.json, which makes a folder a
// checkpoint, comes last. Started again after any end, a conversion keeps the files that are there
// and goes on; files of another conversion are never touched.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/conversion/conversion_plan.h"
#include "tessera/model/deepseek_v4/conversion/tensor_conversion.h"

namespace tessera::model::deepseek_v4 {

/// What is in the destination already.
struct ConversionStart {
  std::vector<size_t> missing;  // indices of shards
  uint64_t bytes_missing = 0;
  uint64_t bytes_free = 0;  // of the file system, when temporary files have gone
};

/// Changes nothing. Errors: invalid_argument where `destination` is the source or holds weights of
/// another conversion; io where there is no room, with the numbers.
Result<ConversionStart> look_at_destination(const ConversionPlan& plan,
                                            const std::filesystem::path& destination);

struct ConversionProgress {
  uint64_t done = 0, total = 0;  // bytes written, of those this run writes
};

struct ConversionResult {
  size_t shards = 0, kept = 0;  // written now, there before
  uint64_t bytes_read = 0, bytes_written = 0;
  ConversionLoss loss;  // of the files written now
  double seconds = 0;
};

/// `jobs` files at a time; 0: one for each core. Memory: a few MiB a job. `progress` is called by
/// one thread at a time.
Result<ConversionResult> convert(const ConversionPlan& plan,
                                 const std::filesystem::path& destination, int jobs,
                                 const std::function<void(const ConversionProgress&)>& progress);

}  // namespace tessera::model::deepseek_v4
