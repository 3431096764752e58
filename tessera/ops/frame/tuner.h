// SPDX-License-Identifier: Apache-2.0
// Searches the hints of one use of an operator. Each round tries every number twice as large and
// half; the best becomes the start of the next round. Candidates with the kernels of an earlier one
// are the same candidate; those that would leave compute units idle are not tried; each must give
// right results before it is timed, and the winner must beat the untuned kernels in turn.
#pragma once

#include <string>
#include <vector>

#include "tessera/kernels/kernel_library.h"
#include "tessera/ops/frame/bench.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/frame/tuning_file.h"

namespace tessera::ops {

struct TuneOptions {
  double min_seconds = 0.1;  // of the timed runs of a candidate
  int rounds = 3;
  size_t rotate_bytes = BenchOptions().rotate_bytes;
  bool deterministic = false;  // PlanOptions::deterministic
};

struct TuneReport {
  Winner winner;  // without hints: nothing was faster by kLeastGain
  int timed = 0, idle = 0, wrong = 0, failed = 0;  // candidates; failed: did not compile or run
  std::string mistake;                             // of the first wrong one
};

/// A gain below this share of the time is none.
inline constexpr double kLeastGain = 0.03;

/// Candidates are handed to the library's device as its tuning, which is as before afterwards. A
/// device without a compiler tries those whose kernels its packs hold.
Result<TuneReport> tune(kernels::KernelLibrary& library, const Operator& op, const Case& test_case,
                        const TuneOptions& options = {});

/// The kernels of the first round, so that a pack can hold them.
Result<std::vector<lang::Trace>> candidate_traces(const Operator& op, const Problem& problem,
                                                  const runtime::Capabilities& capabilities,
                                                  const TuneOptions& options = {});

}  // namespace tessera::ops
