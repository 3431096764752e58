// SPDX-License-Identifier: Apache-2.0
// A loaded kernel. Its parameters are the argument slots followed by two hidden ones: grid x and y
// packed into one (x in the low half), and the number of programs. It is launched on a
// one-dimensional grid, so any grid whose programs fit 2^31 - 1 blocks runs as it is; larger ones
// loop in the kernel.
#pragma once

#include "tessera/chips/cuda/device.h"

namespace tessera::chips::cuda {

inline constexpr uint32_t kHiddenSlots = 2;
inline constexpr uint32_t kMaxSlots = 256;

class CudaExecutable final : public runtime::Executable {
 public:
  /// `format` is "ptx" or "cubin".
  static Result<std::shared_ptr<runtime::Executable>> load(CudaDevice& device,
                                                           const runtime::KernelImage& image);
  ~CudaExecutable() override;

  CUfunction function() const { return function_; }
  uint32_t threads() const { return threads_; }
  uint32_t shared_bytes() const { return shared_bytes_; }

 private:
  CudaExecutable(CudaDevice& device, const runtime::KernelImage& image, CUmodule module,
                 CUfunction function)
      : Executable(device, image.slot_count),
        module_(module),
        function_(function),
        threads_(image.workgroup_size),
        shared_bytes_(image.shared_bytes) {}

  CUmodule module_;
  CUfunction function_;
  uint32_t threads_;
  uint32_t shared_bytes_;
};

}  // namespace tessera::chips::cuda
