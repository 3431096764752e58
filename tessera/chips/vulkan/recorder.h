// SPDX-License-Identifier: Apache-2.0
// One command buffer being recorded, with the memory its commands read: argument slots and staged
// bytes. A stream's open batch and a captured graph are both one of these. A full barrier stands
// after every command: a stream is in order.
#pragma once

#include <memory>
#include <vector>

#include "tessera/chips/vulkan/arguments.h"
#include "tessera/chips/vulkan/device.h"
#include "tessera/runtime/stream.h"

namespace tessera::chips::vulkan {

class Recorder {
 public:
  static Result<std::unique_ptr<Recorder>> begin(VulkanDevice& device, bool reusable);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  Result<void> launch(runtime::Executable& executable, runtime::Grid grid,
                      std::span<const uint64_t> slots);
  void copy(runtime::Buffer& to, size_t to_offset, const runtime::Buffer& from, size_t from_offset,
            size_t bytes);
  /// Keeps a copy of `from` until the recorder goes.
  Result<void> copy_from_host(runtime::Buffer& to, size_t offset, std::span<const std::byte> from);
  Result<void> fill(runtime::Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                    uint32_t pattern_bytes);
  void timestamp(VkQueryPool pool);

  size_t commands() const { return commands_; }
  size_t staged_bytes() const { return staged_bytes_; }
  Result<void> end();
  VkCommandBuffer handle() const { return buffer_; }

 private:
  explicit Recorder(VulkanDevice& device) : device_(device) {}
  void barrier();
  /// The offset in the last page.
  Result<uint32_t> store_slots(std::span<const uint64_t> slots);

  VulkanDevice& device_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer buffer_ = VK_NULL_HANDLE;
  std::vector<std::unique_ptr<ArgumentPage>> pages_;
  std::vector<std::unique_ptr<VulkanBuffer>> staged_;
  size_t staged_bytes_ = 0;
  size_t commands_ = 0;
  std::vector<std::shared_ptr<runtime::Executable>> executables_;
};

}  // namespace tessera::chips::vulkan
