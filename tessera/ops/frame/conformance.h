// SPDX-License-Identifier: Apache-2.0
// Runs the cases of operators on a device and compares with their references. Each case runs twice,
// once launched and once as a captured graph: with other garbage in outputs and workspace, and
// equal bits expected, so an element that is not written or a workspace taken for zeros is found.
// Inputs must not change. Buffers end where the tensor ends, next to unmapped memory where the chip
// can do that.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tessera/kernels/kernel_library.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::ops {

struct ConformanceOptions {
  std::optional<DType> dtype = {};  // only cases with a tensor of this type
  std::string case_filter = {};     // only cases whose text contains this
  int threads = 0;                  // cases at once; 0 = all cores
  bool deterministic = false;       // PlanOptions::deterministic
  /// Of the chip: entries "Op.<name>" ('*' ends a pattern).
  std::span<const runtime::KnownFailure> known_failures = {};
  /// Called between cases, never by two threads at once.
  std::function<void(std::string_view what, size_t done, size_t total)> progress = {};
};

struct CaseReport {
  std::string text;
  std::string wrong;  // empty: passed
  double worst = 0;   // largest error, 1 = the limit
};

struct OperatorReport {
  enum class Status : uint8_t { kPassed, kFailed, kKnownFailure, kStale, kNotRun, kNoCases };
  const Operator* op = nullptr;
  Status status = Status::kPassed;
  std::string reason;  // of a known failure
  std::vector<CaseReport> cases;

  bool good() const { return status != Status::kFailed && status != Status::kStale; }
  double worst() const;
};

/// Reports are in the order of `operators`.
std::vector<OperatorReport> run_conformance(kernels::KernelLibrary& library,
                                            std::span<const Operator* const> operators,
                                            const ConformanceOptions& options = {});

}  // namespace tessera::ops
