// SPDX-License-Identifier: Apache-2.0
// A kernel as compute pipelines. Its argument slots are a uniform buffer (arguments.h), its push
// constants PushConstants. It is dispatched on as many workgroups as the limits allow; a kernel
// loops over the rest.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "tessera/chips/vulkan/device.h"

namespace tessera::chips::vulkan {

/// Layout agreed with the compiler; every member is 8 bytes.
struct PushConstants {
  uint64_t slots;     // device address of the argument slots: what loads out of bounds read
  uint64_t grid_xy;   // grid x in the low half, y in the high half
  uint64_t programs;  // all programs of the grid
};

class VulkanExecutable final : public runtime::Executable {
 public:
  static Result<std::shared_ptr<runtime::Executable>> load(VulkanDevice& device,
                                                           const runtime::KernelImage& image);
  ~VulkanExecutable() override;

  /// The version for these arguments: that for aligned addresses is made by load(), the other one
  /// when it is first needed.
  Result<VkPipeline> pipeline_for(std::span<const uint64_t> slots);
  VkPipelineLayout layout() const { return layout_; }

 private:
  VulkanExecutable(VulkanDevice& device, const runtime::KernelImage& image);
  Result<VkPipeline> create_pipeline(bool aligned);

  std::string entry_;
  std::vector<uint32_t> words_;  // the SPIR-V module
  std::vector<uint32_t> aligned_slots_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipeline aligned_ = VK_NULL_HANDLE;
  std::mutex mutex_;
  VkPipeline unaligned_ = VK_NULL_HANDLE;
};

}  // namespace tessera::chips::vulkan
