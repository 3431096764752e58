// SPDX-License-Identifier: Apache-2.0
// A loaded kernel. Its parameters are the argument slots followed by two hidden ones: grid x and y
// packed into one (x in the low half), and the number of programs, and by tensor maps. It is
// launched on the grid as it is where blocks may lie so, else on a line of blocks; more programs
// than blocks loop in the kernel.
#pragma once

#include "tessera/chips/cuda/device.h"
#include "tessera/chips/cuda/tensor_map.h"

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
  std::span<const TensorMapForm> tensor_maps() const { return tensor_maps_; }
  /// Workgroups worth launching; each goes on to further programs.
  int64_t most_blocks() const { return most_blocks_; }

 private:
  static constexpr int64_t kMaxBlocks = (int64_t{1} << 31) - 1;
  /// With more shared memory a multiprocessor holds one workgroup.
  static constexpr uint32_t kOneBlockBytes = 114 << 10;

  CudaExecutable(CudaDevice& device, const runtime::KernelImage& image, CUmodule module,
                 CUfunction function, std::vector<TensorMapForm> tensor_maps)
      : Executable(device, image.slot_count),
        module_(module),
        function_(function),
        tensor_maps_(std::move(tensor_maps)),
        threads_(image.workgroup_size),
        shared_bytes_(image.shared_bytes),
        most_blocks_(shared_bytes_ > kOneBlockBytes ? device.info().compute_units : kMaxBlocks) {}

  CUmodule module_;
  CUfunction function_;
  const std::vector<TensorMapForm> tensor_maps_;
  uint32_t threads_;
  uint32_t shared_bytes_;
  int64_t most_blocks_;
};

}  // namespace tessera::chips::cuda
