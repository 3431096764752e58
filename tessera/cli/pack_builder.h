// SPDX-License-Identifier: Apache-2.0
// Compiles kernels for one architecture into a pack.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tessera/cli/program.h"
#include "tessera/kernels/disk_cache.h"
#include "tessera/kernels/pack.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/frame/tuning_file.h"

namespace tessera::cli {

/// What a pack's kernels are planned and compiled for.
struct PackTarget {
  std::string arch;      // DeviceInfo::arch
  std::string compiled;  // the same, perhaps with features of its own
  std::shared_ptr<const runtime::Tuning> tuning;
  runtime::Capabilities capabilities;  // with `tuning`

  /// `chip` is an architecture ("cpu:x86-64-v3"), also one with features
  /// ("cpu:x86-64-v4+avx512bf16"), or a device that is here ("cpu:avx2").
  static Result<PackTarget> find(const std::string& chip, const Program& program,
                                 const ops::TuningFile& tuning);
};

class PackBuilder {
 public:
  PackBuilder(kernels::Provider& compiler, const PackTarget& target, kernels::PackWriter& pack);

  /// The kernels of all cases; plans that cannot be traced are failures.
  void add(const ops::Operator& op);
  void add(lang::Trace trace) { traces_.emplace(trace.hash(), std::move(trace)); }

  void compile(int threads);
  /// Prints what failed to standard error; how many.
  size_t report() const;

 private:
  struct Failure {
    std::string kernel, message;
  };
  void add(const ops::Operator& op, const ops::Case& c, const ops::PlanOptions& options);
  Result<runtime::KernelImage> fetch(const lang::Trace& trace);

  kernels::Provider& compiler_;
  const PackTarget& target_;
  kernels::PackWriter& pack_;
  std::optional<kernels::DiskCache> cache_;
  std::map<Hash128, lang::Trace> traces_;
  std::vector<Failure> failures_;
};

}  // namespace tessera::cli
