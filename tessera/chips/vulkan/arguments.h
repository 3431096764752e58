// SPDX-License-Identifier: Apache-2.0
// Where kernels find their argument slots: a uniform buffer, which every driver reads once for all
// threads. A page holds the slots of many launches; a launch binds it at its own offset.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "tessera/chips/vulkan/device.h"

namespace tessera::chips::vulkan {

/// Slots of one kernel at most; the least range of a uniform buffer that Vulkan allows has four
/// times as many.
inline constexpr uint32_t kMaxSlots = 512;

/// The layout of the one descriptor set all kernels have: slots at binding 0, with an offset.
Result<VkDescriptorSetLayout> create_arguments_layout(const DeviceFunctions& vk, VkDevice device);

class ArgumentPage {
 public:
  static Result<std::unique_ptr<ArgumentPage>> create(VulkanDevice& device);
  ~ArgumentPage();
  ArgumentPage(const ArgumentPage&) = delete;
  ArgumentPage& operator=(const ArgumentPage&) = delete;

  /// Copies the slots; their offset in the page, or nothing where it is full.
  std::optional<uint32_t> store(std::span<const uint64_t> slots);
  VkDescriptorSet set() const { return set_; }
  uint64_t address() const { return buffer_->address(); }

 private:
  explicit ArgumentPage(VulkanDevice& device) : device_(device) {}

  VulkanDevice& device_;
  std::unique_ptr<VulkanBuffer> buffer_;
  VkDescriptorPool pool_ = VK_NULL_HANDLE;
  VkDescriptorSet set_ = VK_NULL_HANDLE;
  size_t used_ = 0;
};

}  // namespace tessera::chips::vulkan
