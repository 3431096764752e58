// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/device_run.h"

namespace tessera::ops {

Result<DeviceRun> DeviceRun::create(kernels::KernelLibrary& library, const Operator& op,
                                    const Problem& problem, const PlanOptions& options) {
  TESSERA_ASSIGN(PreparedOp prepared, PreparedOp::prepare(library, op, problem, options));
  DeviceRun run(op, problem, std::move(prepared));
  runtime::Device& device = library.device();
  TESSERA_ASSIGN(run.stream_, device.create_stream());
  for (const auto& desc : problem.tensors()) {
    run.buffers_.emplace_back();
    if (desc) {
      TESSERA_ASSIGN(run.buffers_.back(), device.allocate(desc->bytes()));
    }
    run.addresses_.push_back(desc ? run.buffers_.back()->address() : 0);
  }
  TESSERA_ASSIGN(run.workspace_,
                 device.allocate(static_cast<size_t>(run.prepared_.workspace_bytes())));
  return run;
}

Result<void> DeviceRun::reset(const std::vector<HostTensor>& inputs, uint8_t poison) {
  for (size_t i = 0; i < buffers_.size(); ++i) {
    if (!present(i)) continue;
    if (op_->signature->tensors[i].access == Access::kWrite)
      TESSERA_TRY(stream_->fill(*buffers_[i], 0, buffers_[i]->size(), poison));
    else
      TESSERA_TRY(stream_->copy_to_device(*buffers_[i], 0, inputs[i].bytes()));
  }
  return stream_->fill(*workspace_, 0, workspace_->size(), poison);
}

Result<void> DeviceRun::launch() {
  return prepared_.run(*stream_, addresses_, workspace_->address());
}

Result<void> DeviceRun::replay() {
  TESSERA_TRY(stream_->begin_capture());
  const auto captured = launch();
  TESSERA_ASSIGN(const auto graph, stream_->end_capture());
  if (!captured.ok()) return Error(captured.error());
  TESSERA_TRY(stream_->replay(*graph));
  return stream_->synchronize();  // the graph ends here
}

Result<std::vector<HostTensor>> DeviceRun::download() {
  std::vector<HostTensor> tensors;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    tensors.emplace_back();
    if (!present(i)) continue;
    tensors.back() = HostTensor(*problem_->tensors()[i]);
    TESSERA_TRY(stream_->copy_to_host(tensors.back().bytes(), *buffers_[i], 0));
  }
  TESSERA_TRY(stream_->synchronize());
  return tensors;
}

Result<std::vector<HostTensor>> run_once(kernels::KernelLibrary& library, const Operator& op,
                                         const Problem& problem,
                                         const std::vector<HostTensor>& inputs,
                                         const PlanOptions& options, uint8_t poison) {
  TESSERA_ASSIGN(DeviceRun run, DeviceRun::create(library, op, problem, options));
  TESSERA_TRY(run.reset(inputs, poison));
  TESSERA_TRY(run.launch());
  return run.download();
}

}  // namespace tessera::ops
