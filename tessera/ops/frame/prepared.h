// SPDX-License-Identifier: Apache-2.0
// An operator planned, compiled and ready to launch for one set of shapes. Launching fills the
// tensors' addresses into ready slots and calls the driver: no string, no lock, no allocation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/kernels/kernel_library.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/runtime/stream.h"

namespace tessera::ops {

/// The kernels of one use; those with an empty grid are left out.
Plan make_plan(const Operator& op, const Problem& problem,
               const runtime::Capabilities& capabilities, const PlanOptions& options = {});
/// One trace a kernel of the plan.
Result<std::vector<lang::Trace>> trace_plan(const Plan& plan);

/// Bytes [first, last) of device memory that a kernel reads or writes, gaps of strided tensors
/// included.
struct MemoryUse {
  uint64_t first = 0, last = 0;
  bool written = false;
};

class PreparedOp {
 public:
  /// Plans for the library's device and fetches (or compiles) every kernel.
  static Result<PreparedOp> prepare(kernels::KernelLibrary& library, const Operator& op,
                                    const Problem& problem, const PlanOptions& options = {});
  /// The same for many, compiling all their kernels in parallel.
  static Result<std::vector<PreparedOp>> prepare_all(
      kernels::KernelLibrary& library, std::span<const std::pair<const Operator*, Problem>> uses,
      const PlanOptions& options = {});

  int64_t workspace_bytes() const { return workspace_bytes_; }
  size_t kernel_count() const { return launches_.size(); }
  /// `addresses`: one a tensor of the signature, in order; 0 for an absent one.
  Result<void> run(runtime::Stream& stream, std::span<const uint64_t> addresses,
                   uint64_t workspace) const;
  /// One of its kernels, which run in order or as memory_of() allows.
  Result<void> launch(size_t kernel, runtime::Stream& stream, std::span<const uint64_t> addresses,
                      uint64_t workspace) const;
  std::vector<MemoryUse> memory_of(size_t kernel, std::span<const uint64_t> addresses,
                                   uint64_t workspace) const;

 private:
  struct Patch {
    uint16_t slot;
    int16_t tensor;  // -1: workspace
    bool written;
    int64_t byte_offset;
    size_t bytes;  // from the first element to the last
    uint64_t address(std::span<const uint64_t> addresses, uint64_t workspace) const {
      return (tensor < 0 ? workspace : addresses[static_cast<size_t>(tensor)]) +
             static_cast<uint64_t>(byte_offset);
    }
  };
  struct Launch {
    std::shared_ptr<runtime::Executable> executable;
    runtime::Grid grid;
    std::vector<uint64_t> slots;
    std::vector<Patch> patches;
  };
  static Result<PreparedOp> assemble(
      const Plan& plan, std::span<const lang::Trace> traces,
      std::span<const std::shared_ptr<runtime::Executable>> executables);
  std::vector<Launch> launches_;
  int64_t workspace_bytes_ = 0;
};

}  // namespace tessera::ops
