// SPDX-License-Identifier: Apache-2.0
// Streams collect commands in an open batch and submit it when the host waits, records an event or
// replays a graph. All streams share the device's queue, so their submissions run in order.
#pragma once

#include <deque>
#include <memory>

#include "tessera/chips/vulkan/device.h"
#include "tessera/chips/vulkan/recorder.h"

namespace tessera::chips::vulkan {

class VulkanEvent final : public runtime::Event {
 public:
  static Result<std::unique_ptr<runtime::Event>> create(VulkanDevice& device);
  ~VulkanEvent() override;

  Result<bool> query() override;
  Result<void> synchronize() override;
  Result<double> elapsed_ms_since(runtime::Event& start) override;

 private:
  friend class VulkanStream;
  VulkanEvent(VulkanDevice& device, VkQueryPool pool)
      : Event(device), vulkan_(device), pool_(pool) {}
  Result<uint64_t> ticks();

  VulkanDevice& vulkan_;
  VkQueryPool pool_;
  uint64_t timeline_value_ = 0;  // 0 = never recorded
};

class VulkanGraph final : public runtime::Graph {
 public:
  VulkanGraph(VulkanDevice& device, std::unique_ptr<Recorder> recorder)
      : Graph(device, recorder->commands()), vulkan_(device), recorder_(std::move(recorder)) {}
  ~VulkanGraph() override;
  VkCommandBuffer commands() const { return recorder_->handle(); }
  void used_until(uint64_t timeline_value) { last_use_ = timeline_value; }

 private:
  VulkanDevice& vulkan_;
  std::unique_ptr<Recorder> recorder_;
  uint64_t last_use_ = 0;
};

class VulkanStream final : public runtime::Stream {
 public:
  explicit VulkanStream(VulkanDevice& device) : Stream(device), vulkan_(device) {}
  ~VulkanStream() override;

 private:
  struct Batch {
    std::unique_ptr<Recorder> recorder;
    uint64_t timeline_value;
  };
  Result<Recorder*> recorder();
  Result<void> submit_open();
  void drop_finished();

  Result<void> do_copy_to_device(runtime::Buffer& to, size_t offset,
                                 std::span<const std::byte> from) override;
  Result<void> do_copy_to_host(std::span<std::byte> to, const runtime::Buffer& from,
                               size_t offset) override;
  Result<void> do_copy(runtime::Buffer& to, size_t to_offset, const runtime::Buffer& from,
                       size_t from_offset, size_t bytes) override;
  Result<void> do_fill(runtime::Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                       uint32_t pattern_bytes) override;
  Result<void> do_launch(runtime::Executable& executable, runtime::Grid grid,
                         std::span<const uint64_t> slots) override;
  Result<void> do_record(runtime::Event& event) override;
  Result<void> do_wait(runtime::Event& event) override;
  Result<void> do_synchronize() override;
  Result<void> do_begin_capture() override;
  Result<std::unique_ptr<runtime::Graph>> do_end_capture() override;
  Result<void> do_replay(runtime::Graph& graph) override;

  VulkanDevice& vulkan_;
  std::unique_ptr<Recorder> open_;  // batch or capture being recorded
  std::deque<Batch> submitted_;     // oldest first
  uint64_t last_value_ = 0;         // timeline value after everything submitted here
};

}  // namespace tessera::chips::vulkan
