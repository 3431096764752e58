// SPDX-License-Identifier: Apache-2.0
// NVIDIA GPUs through the driver API.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "tessera/chips/cuda/driver.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"

namespace tessera::chips::cuda {

/// All GPUs of compute capability 7.0 and newer; ChipOptions::option is an ordinal ("" = all).
/// No driver or no GPU is an empty list.
Result<std::vector<std::unique_ptr<runtime::Device>>> devices(const runtime::ChipOptions& options);

class CudaDevice final : public runtime::Device {
 public:
  CudaDevice(const Driver& driver, CUdevice device, CUcontext context, runtime::DeviceInfo info,
             std::string identity, uint64_t memory_limit);
  ~CudaDevice() override;

  Result<std::unique_ptr<runtime::Buffer>> allocate(size_t bytes) override;
  Result<std::unique_ptr<runtime::Stream>> create_stream() override;
  Result<std::unique_ptr<runtime::Event>> create_event() override;
  uint64_t memory_in_use() const override { return in_use_.load(std::memory_order_relaxed); }
  uint64_t memory_free() const override;

  const Driver& driver() const { return driver_; }
  /// Makes the device's context current on the calling thread. Other code that changes a thread's
  /// context must restore it.
  Result<void> enter() const;
  /// PTX becomes the GPU's machine code, a cubin, by the driver's linker.
  Result<runtime::KernelImage> finish(const runtime::KernelImage& image) override;
  std::string finish_identity() const override { return identity_; }
  int64_t driver_compilations() const override {
    return driver_compilations_.load(std::memory_order_relaxed);
  }

 private:
  friend class CudaBuffer;
  static uint64_t next_number();
  Result<std::shared_ptr<runtime::Executable>> do_load(const runtime::KernelImage& image) override;

  const Driver& driver_;
  const CUdevice device_;
  const CUcontext context_;
  const std::string identity_;
  const uint64_t memory_limit_;
  const uint64_t number_;  // no other device of this process ever had it
  std::atomic<uint64_t> in_use_{0};
  std::atomic<int64_t> driver_compilations_{0};
};

}  // namespace tessera::chips::cuda
