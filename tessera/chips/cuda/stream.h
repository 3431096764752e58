// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tessera/chips/cuda/device.h"
#include "tessera/runtime/branching_stream.h"
#include "tessera/runtime/native_stream.h"

namespace tessera::chips::cuda {

class CudaEvent final : public runtime::Event {
 public:
  static Result<std::unique_ptr<runtime::Event>> create(CudaDevice& device);
  ~CudaEvent() override;

  Result<bool> query() override;
  Result<void> synchronize() override;
  Result<double> elapsed_ms_since(runtime::Event& start) override;

 private:
  friend class CudaStream;
  CudaEvent(CudaDevice& device, CUevent event) : Event(device), event_(event) {}
  const Driver& driver() const { return static_cast<CudaDevice&>(device()).driver(); }

  CUevent event_;
  bool recorded_ = false;
};

class CudaGraph final : public runtime::Graph {
 public:
  CudaGraph(CudaDevice& device, CUgraphExec executable, size_t nodes,
            std::vector<std::shared_ptr<runtime::Executable>> kernels)
      : Graph(device, nodes), executable_(executable), kernels_(std::move(kernels)) {}
  ~CudaGraph() override;
  CUgraphExec executable() const { return executable_; }

 private:
  CUgraphExec executable_;
  std::vector<std::shared_ptr<runtime::Executable>> kernels_;  // kept loaded
};

/// A CUDA stream. A stream is used by one thread at a time.
class CudaStream final : public runtime::Stream,
                         public runtime::NativeStream,
                         public runtime::BranchingStream {
 public:
  static Result<std::unique_ptr<runtime::Stream>> create(CudaDevice& device);
  ~CudaStream() override;
  void* native_handle() const override { return stream_; }
  Result<void> begin_step(std::span<const uint32_t> after) override;

 private:
  CudaStream(CudaDevice& device, CUstream stream)
      : Stream(device), cuda_(device), stream_(stream) {}
  Result<void> check(CUresult status, std::string_view what) const {
    return cuda_.driver().check(status, what);
  }

  Result<void> do_copy_to_device(runtime::Buffer& to, size_t offset,
                                 std::span<const std::byte> from) override;
  Result<void> do_copy_to_host(std::span<std::byte> to, const runtime::Buffer& from,
                               size_t offset) override;
  Result<void> do_copy(runtime::Buffer& to, size_t to_offset, const runtime::Buffer& from,
                       size_t from_offset, size_t bytes) override;
  Result<void> do_fill(runtime::Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                       uint32_t pattern_bytes) override;
  Result<void> do_launch(runtime::Executable& executable, runtime::Grid grid,
                         std::span<const uint64_t> slots) override;
  Result<void> do_record(runtime::Event& event) override;
  Result<void> do_wait(runtime::Event& event) override;
  Result<void> do_synchronize() override;
  Result<void> do_begin_capture() override;
  Result<std::unique_ptr<runtime::Graph>> do_end_capture() override;
  Result<void> do_replay(runtime::Graph& graph) override;

  CudaDevice& cuda_;
  CUstream stream_;
  /// What the next captured operation would wait for.
  Result<std::vector<CUgraphNode>> last_captured() const;

  std::vector<std::shared_ptr<runtime::Executable>> captured_kernels_;
  bool in_step_ = false;
  std::vector<std::vector<CUgraphNode>> step_ends_;  // of a capture's steps but for the last
};

}  // namespace tessera::chips::cuda
