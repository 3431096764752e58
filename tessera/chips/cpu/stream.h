// SPDX-License-Identifier: Apache-2.0
// The cpu chip's stream: what a stream of host memory does, with the device's thread pool.
#pragma once

#include "tessera/base/thread_pool.h"
#include "tessera/runtime/host_stream.h"

namespace tessera::chips::cpu {

class CpuStream final : public runtime::HostStream {
 public:
  CpuStream(runtime::Device& device, ThreadPool& pool) : HostStream(device), pool_(pool) {}

 private:
  Result<void> run_kernel(runtime::Executable& executable, runtime::Grid grid,
                          const uint64_t* slots) override;
  void copy_bytes(std::byte* to, const std::byte* from, size_t bytes) override;
  void fill_bytes(std::byte* to, size_t bytes, uint32_t pattern, uint32_t pattern_bytes) override;

  ThreadPool& pool_;
};

}  // namespace tessera::chips::cpu
