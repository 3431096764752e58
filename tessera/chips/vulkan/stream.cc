// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/stream.h"

#include <cstring>

namespace tessera::chips::vulkan {
namespace {

using runtime::Buffer;
using runtime::Event;
using runtime::Executable;
using runtime::Graph;
using runtime::Grid;

/// Beyond these an open batch is submitted: memory for staged bytes and command buffers stays
/// bounded.
constexpr size_t kMaxStagedBytes = 64 << 20;
constexpr size_t kMaxCommands = 4096;

}  // namespace

Result<std::unique_ptr<Event>> VulkanEvent::create(VulkanDevice& device) {
  VkQueryPoolCreateInfo create = {};
  create.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO;
  create.queryType = VK_QUERY_TYPE_TIMESTAMP;
  create.queryCount = 1;
  VkQueryPool pool = VK_NULL_HANDLE;
  TESSERA_TRY(check(device.vk().CreateQueryPool(device.handle(), &create, nullptr, &pool),
                    "vkCreateQueryPool"));
  return std::unique_ptr<Event>(new VulkanEvent(device, pool));
}

VulkanEvent::~VulkanEvent() {
  (void)synchronize();
  vulkan_.vk().DestroyQueryPool(vulkan_.handle(), pool_, nullptr);
}

Result<bool> VulkanEvent::query() { return vulkan_.reached(timeline_value_); }
Result<void> VulkanEvent::synchronize() { return vulkan_.wait_for(timeline_value_); }

Result<uint64_t> VulkanEvent::ticks() {
  uint64_t value = 0;
  TESSERA_TRY(check(vulkan_.vk().GetQueryPoolResults(
                        vulkan_.handle(), pool_, 0, 1, sizeof value, &value, sizeof value,
                        VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT),
                    "vkGetQueryPoolResults"));
  return value;
}

Result<double> VulkanEvent::elapsed_ms_since(Event& start) {
  if (&start.device() != &device())
    return invalid_argument("elapsed time between events of two devices");
  auto& first = static_cast<VulkanEvent&>(start);
  if (timeline_value_ == 0 || first.timeline_value_ == 0)
    return invalid_argument("elapsed time of an event that was never recorded");
  TESSERA_ASSIGN(const uint64_t begin, first.ticks());
  TESSERA_ASSIGN(const uint64_t end, ticks());
  return static_cast<double>(static_cast<int64_t>(end - begin)) * vulkan_.timestamp_nanoseconds() *
         1e-6;
}

VulkanGraph::~VulkanGraph() { (void)vulkan_.wait_for(last_use_); }

VulkanStream::~VulkanStream() {
  if (capturing()) open_.reset();  // an abandoned capture never runs
  (void)do_synchronize();
}

Result<Recorder*> VulkanStream::recorder() {
  const bool full = open_ && !capturing() &&
                    (open_->staged_bytes() > kMaxStagedBytes || open_->commands() >= kMaxCommands);
  if (full) TESSERA_TRY(submit_open());
  if (!open_) {
    TESSERA_ASSIGN(open_, Recorder::begin(vulkan_, /*reusable=*/false));
  }
  return open_.get();
}

Result<void> VulkanStream::submit_open() {
  if (!open_) return {};
  std::unique_ptr<Recorder> recorder = std::move(open_);
  TESSERA_TRY(recorder->end());
  TESSERA_ASSIGN(last_value_, vulkan_.submit(recorder->handle()));
  submitted_.push_back({std::move(recorder), last_value_});
  drop_finished();
  return {};
}

void VulkanStream::drop_finished() {
  while (!submitted_.empty()) {
    auto done = vulkan_.reached(submitted_.front().timeline_value);
    if (!done.ok() || !done.value()) return;
    submitted_.pop_front();
  }
}

Result<void> VulkanStream::do_copy_to_device(Buffer& to, size_t offset,
                                             std::span<const std::byte> from) {
  TESSERA_ASSIGN(Recorder * r, recorder());
  return r->copy_from_host(to, offset, from);
}

Result<void> VulkanStream::do_copy_to_host(std::span<std::byte> to, const Buffer& from,
                                           size_t offset) {
  std::unique_ptr<VulkanBuffer> staging;
  if (!from.host_data()) {
    TESSERA_ASSIGN(staging, vulkan_.allocate_staging(to.size()));
    TESSERA_ASSIGN(Recorder * r, recorder());
    r->copy(*staging, 0, from, offset, to.size());
  }
  TESSERA_TRY(do_synchronize());
  std::memcpy(to.data(), staging ? staging->host_data() : from.host_data() + offset, to.size());
  return {};
}

Result<void> VulkanStream::do_copy(Buffer& to, size_t to_offset, const Buffer& from,
                                   size_t from_offset, size_t bytes) {
  TESSERA_ASSIGN(Recorder * r, recorder());
  r->copy(to, to_offset, from, from_offset, bytes);
  return {};
}

Result<void> VulkanStream::do_fill(Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                                   uint32_t pattern_bytes) {
  TESSERA_ASSIGN(Recorder * r, recorder());
  const uint32_t word = pattern_bytes == 1 ? (pattern & 0xff) * 0x01010101u : pattern;
  return r->fill(buffer, offset, bytes, word, pattern_bytes);
}

Result<void> VulkanStream::do_launch(Executable& executable, Grid grid,
                                     std::span<const uint64_t> slots) {
  TESSERA_ASSIGN(Recorder * r, recorder());
  return r->launch(executable, grid, slots);
}

Result<void> VulkanStream::do_record(Event& event) {
  auto& vulkan_event = static_cast<VulkanEvent&>(event);
  TESSERA_ASSIGN(Recorder * r, recorder());
  r->timestamp(vulkan_event.pool_);
  TESSERA_TRY(submit_open());
  vulkan_event.timeline_value_ = last_value_;
  return {};
}

Result<void> VulkanStream::do_wait(Event&) {
  // Whatever record() submitted runs before anything this stream submits later: one queue, in
  // order.
  return {};
}

Result<void> VulkanStream::do_synchronize() {
  TESSERA_TRY(submit_open());
  TESSERA_TRY(vulkan_.wait_for(last_value_));
  submitted_.clear();
  return {};
}

Result<void> VulkanStream::do_begin_capture() {
  TESSERA_TRY(submit_open());
  TESSERA_ASSIGN(open_, Recorder::begin(vulkan_, /*reusable=*/true));
  return {};
}

Result<std::unique_ptr<Graph>> VulkanStream::do_end_capture() {
  std::unique_ptr<Recorder> recorder = std::move(open_);
  TESSERA_TRY(recorder->end());
  return std::unique_ptr<Graph>(std::make_unique<VulkanGraph>(vulkan_, std::move(recorder)));
}

Result<void> VulkanStream::do_replay(Graph& graph) {
  TESSERA_TRY(submit_open());
  auto& recorded = static_cast<VulkanGraph&>(graph);
  TESSERA_ASSIGN(last_value_, vulkan_.submit(recorded.commands()));
  recorded.used_until(last_value_);
  return {};
}

}  // namespace tessera::chips::vulkan
