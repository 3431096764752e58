// SPDX-License-Identifier: Apache-2.0
// Times one case of an operator. Uses rotate over enough copies of all tensors that none is still
// in a cache, and replay a graph, as in a model, where the weights of a layer return only after all
// others. A case that touches a small part of tensors too large for that (rows of a table) is timed
// one launch at a time instead, each after a pass over other memory. A memory-bound case is
// compared with the memory rate measured right before each of its runs.
#pragma once

#include <cstddef>
#include <string>

#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/ceilings.h"
#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

struct BenchOptions {
  double min_seconds = 0.3;  // of all timed runs together
  int runs = 9;              // timed ones; the median counts
  /// Touched before a byte is touched again; as much as the ceilings' probe where that is more.
  size_t rotate_bytes = size_t{512} << 20;
  bool deterministic = false;
};

struct BenchResult {
  std::string text;    // of the case
  double seconds = 0;  // one use: the median
  double fastest = 0;
  int64_t uses = 0;  // timed
  Cost cost;
  std::string ceiling;  // "read", "copy" or "compute": what bounds it; empty: not measured
  double share = 0;     // of that ceiling; memory: the median of the runs' own shares

  double bytes_per_second() const { return (cost.bytes_read + cost.bytes_written) / seconds; }
  double flops_per_second() const { return cost.flops / seconds; }
};

/// The text of the result is empty.
Result<BenchResult> run_bench(kernels::KernelLibrary& library, const Operator& op,
                              const CaseData& data, const Ceilings& ceilings,
                              const BenchOptions& options = {});
Result<BenchResult> run_bench(kernels::KernelLibrary& library, const Operator& op,
                              const Case& test_case, const Ceilings& ceilings,
                              const BenchOptions& options = {});

}  // namespace tessera::ops
