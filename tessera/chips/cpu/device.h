// SPDX-License-Identifier: Apache-2.0
// The processor this program runs on, as a device: buffers are host memory between guard pages,
// kernels are shared objects, a launch is a loop over the thread pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "tessera/base/thread_pool.h"
#include "tessera/chips/cpu/isa_level.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"

namespace tessera::chips::cpu {

/// One device. ChipOptions::option is an IsaLevel ("sse2", "avx2", "avx512"; "" = the best one
/// here).
Result<std::vector<std::unique_ptr<runtime::Device>>> devices(const runtime::ChipOptions& options);

class CpuDevice final : public runtime::Device {
 public:
  CpuDevice(const IsaLevel& level, const runtime::ChipOptions& options);

  Result<std::unique_ptr<runtime::Buffer>> allocate(size_t bytes) override;
  Result<std::unique_ptr<runtime::Buffer>> import_host(std::span<const std::byte> bytes) override;
  Result<std::unique_ptr<runtime::Stream>> create_stream() override;
  Result<std::unique_ptr<runtime::Event>> create_event() override;
  uint64_t memory_in_use() const override { return in_use_.load(std::memory_order_relaxed); }
  uint64_t memory_free() const override;
  Result<std::unique_ptr<runtime::BandwidthProbe>> bandwidth_probe(
      const runtime::BandwidthOptions& options) override;

  ThreadPool& pool() { return pool_; }

 private:
  Result<std::shared_ptr<runtime::Executable>> do_load(const runtime::KernelImage& image) override;

  ThreadPool pool_;
  const bool guard_end_;
  const bool allow_host_functions_;
  std::atomic<uint64_t> in_use_{0};
};

}  // namespace tessera::chips::cpu
