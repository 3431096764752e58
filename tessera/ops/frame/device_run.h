// SPDX-License-Identifier: Apache-2.0
// One use of an operator on a device, with its tensors: buffers, poison, launch, download. Buffers
// end where the tensor ends, next to unmapped memory where the chip can do that.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tessera/ops/frame/host_tensor.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/runtime/device.h"

namespace tessera::ops {

class DeviceRun {
 public:
  /// Compiles the kernels and allocates. `problem` must outlive the run.
  static Result<DeviceRun> create(kernels::KernelLibrary& library, const Operator& op,
                                  const Problem& problem, const PlanOptions& options = {});

  /// Sends what the operator reads, in the order of the signature, and fills what it must write and
  /// the workspace with a byte.
  Result<void> reset(const std::vector<HostTensor>& inputs, uint8_t poison);
  Result<void> launch();
  /// The same as a captured graph.
  Result<void> replay();
  /// All tensors as they are now; those left out are empty.
  Result<std::vector<HostTensor>> download();

  bool present(size_t tensor) const { return problem_->tensors()[tensor].has_value(); }

 private:
  DeviceRun(const Operator& op, const Problem& problem, PreparedOp prepared)
      : op_(&op), problem_(&problem), prepared_(std::move(prepared)) {}

  const Operator* op_;
  const Problem* problem_;
  PreparedOp prepared_;
  std::unique_ptr<runtime::Stream> stream_;
  std::vector<std::unique_ptr<runtime::Buffer>> buffers_;  // by tensor; null for absent ones
  std::unique_ptr<runtime::Buffer> workspace_;
  std::vector<uint64_t> addresses_;
};

/// All tensors after one launch on memory full of `poison`.
Result<std::vector<HostTensor>> run_once(kernels::KernelLibrary& library, const Operator& op,
                                         const Problem& problem,
                                         const std::vector<HostTensor>& inputs,
                                         const PlanOptions& options, uint8_t poison);

}  // namespace tessera::ops
