// SPDX-License-Identifier: Apache-2.0
// A compute pipeline. Its push constants are PushConstants: where the argument slots lie, and the
// grid. It is dispatched on as many workgroups as the limits allow; a kernel loops over the rest.
#pragma once

#include "tessera/chips/vulkan/device.h"

namespace tessera::chips::vulkan {

/// Layout agreed with the compiler; every member is 8 bytes.
struct PushConstants {
  uint64_t slots;     // device address of the 64-bit argument slots
  uint64_t grid_xy;   // grid x in the low half, y in the high half
  uint64_t programs;  // all programs of the grid
};

class VulkanExecutable final : public runtime::Executable {
 public:
  static Result<std::shared_ptr<runtime::Executable>> load(VulkanDevice& device,
                                                           const runtime::KernelImage& image);
  ~VulkanExecutable() override;

  VkPipeline pipeline() const { return pipeline_; }
  VkPipelineLayout layout() const { return layout_; }

 private:
  VulkanExecutable(VulkanDevice& device, uint32_t slot_count) : Executable(device, slot_count) {}

  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipeline pipeline_ = VK_NULL_HANDLE;
};

}  // namespace tessera::chips::vulkan
