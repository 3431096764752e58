// SPDX-License-Identifier: Apache-2.0
// A GPU (or lavapipe) through Vulkan 1.2 compute. Buffers are reached by device address, so no
// storage-buffer range limit stands in the way; the one descriptor is of the argument slots.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "tessera/chips/vulkan/architecture.h"
#include "tessera/chips/vulkan/driver.h"
#include "tessera/chips/vulkan/float_controls.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"

namespace tessera::chips::vulkan {

/// Every Vulkan device with what kernels need (buffer device addresses, 64-, 16- and 8-bit
/// integers), as the plainest architecture, or what ChipOptions::option names ("1.2", "matrix"). No
/// loader or no such device is an empty list.
Result<std::vector<std::unique_ptr<runtime::Device>>> devices(const runtime::ChipOptions& options);

/// Memory with a device address; mapped when the memory is host visible.
class VulkanBuffer;

class VulkanDevice final : public runtime::Device {
 public:
  static Result<std::unique_ptr<runtime::Device>> create(const Instance& instance,
                                                         VkPhysicalDevice physical,
                                                         const Architecture& architecture,
                                                         uint64_t memory_limit);
  ~VulkanDevice() override;

  Result<std::unique_ptr<runtime::Buffer>> allocate(size_t bytes) override;
  Result<std::unique_ptr<runtime::Stream>> create_stream() override;
  Result<std::unique_ptr<runtime::Event>> create_event() override;
  uint64_t memory_in_use() const override { return in_use_.load(std::memory_order_relaxed); }
  uint64_t memory_free() const override;

  const DeviceFunctions& vk() const { return vk_; }
  VkDevice handle() const { return device_; }
  uint32_t queue_family() const { return queue_family_; }
  const Architecture& architecture() const { return *architecture_; }
  const FloatControls& float_controls() const { return float_controls_; }
  VkDescriptorSetLayout arguments_layout() const { return arguments_layout_; }
  double timestamp_nanoseconds() const { return timestamp_nanoseconds_; }
  /// Host-visible memory for staging and argument slots; not counted in memory_in_use().
  Result<std::unique_ptr<VulkanBuffer>> allocate_staging(size_t bytes);
  /// Submits to the device's one queue and returns the timeline value that marks the end.
  Result<uint64_t> submit(VkCommandBuffer commands);
  Result<void> wait_for(uint64_t timeline_value);
  Result<bool> reached(uint64_t timeline_value);

 private:
  friend class VulkanBuffer;
  explicit VulkanDevice(runtime::DeviceInfo info) : Device(std::move(info)) {}
  Result<std::shared_ptr<runtime::Executable>> do_load(const runtime::KernelImage& image) override;
  Result<std::unique_ptr<VulkanBuffer>> allocate_from(size_t bytes, uint32_t memory_type,
                                                      bool counted);
  Result<void> start(const Instance& instance, VkPhysicalDevice physical);

  VkDevice device_ = VK_NULL_HANDLE;
  DeviceFunctions vk_;
  VkQueue queue_ = VK_NULL_HANDLE;
  uint32_t queue_family_ = 0;
  uint32_t device_memory_type_ = 0, host_memory_type_ = 0;
  bool device_memory_is_mapped_ = false;
  const Architecture* architecture_ = nullptr;
  FloatControls float_controls_;
  double timestamp_nanoseconds_ = 1;
  uint64_t memory_limit_ = 0;
  VkDescriptorSetLayout arguments_layout_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::mutex submit_mutex_;  // guards queue_ and submitted_
  uint64_t submitted_ = 0;
  std::atomic<uint64_t> in_use_{0};
};

class VulkanBuffer final : public runtime::Buffer {
 public:
  VulkanBuffer(VulkanDevice& device, VkBuffer handle, VkDeviceMemory memory, uint64_t address,
               size_t size, std::byte* mapped, bool counted)
      : Buffer(device, address, size, mapped),
        handle_(handle),
        memory_(memory),
        counted_(counted) {}
  ~VulkanBuffer() override;
  VkBuffer handle() const { return handle_; }

 private:
  VkBuffer handle_;
  VkDeviceMemory memory_;
  bool counted_;
};

}  // namespace tessera::chips::vulkan
