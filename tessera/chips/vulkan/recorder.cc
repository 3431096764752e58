// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/recorder.h"

#include <algorithm>
#include <cstring>

#include "tessera/base/check.h"
#include "tessera/chips/vulkan/executable.h"

namespace tessera::chips::vulkan {
namespace {

constexpr int64_t kMaxGroups = 65535;  // the least maxComputeWorkGroupCount[0] allowed

VkBuffer vk_buffer(const runtime::Buffer& buffer) {
  return static_cast<const VulkanBuffer&>(buffer).handle();
}

}  // namespace

Result<std::unique_ptr<Recorder>> Recorder::begin(VulkanDevice& device, bool reusable) {
  std::unique_ptr<Recorder> recorder(new Recorder(device));
  const DeviceFunctions& vk = device.vk();
  VkCommandPoolCreateInfo pool = {};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.queueFamilyIndex = device.queue_family();
  TESSERA_TRY(check(vk.CreateCommandPool(device.handle(), &pool, nullptr, &recorder->pool_),
                    "vkCreateCommandPool"));
  VkCommandBufferAllocateInfo allocate = {};
  allocate.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  allocate.commandPool = recorder->pool_;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  TESSERA_TRY(check(vk.AllocateCommandBuffers(device.handle(), &allocate, &recorder->buffer_),
                    "vkAllocateCommandBuffers"));
  VkCommandBufferBeginInfo begin = {};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = reusable ? VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT
                         : VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  TESSERA_TRY(check(vk.BeginCommandBuffer(recorder->buffer_, &begin), "vkBeginCommandBuffer"));
  recorder->barrier();  // orders this buffer after earlier submissions to the queue
  return recorder;
}

Recorder::~Recorder() {
  if (pool_) device_.vk().DestroyCommandPool(device_.handle(), pool_, nullptr);
}

void Recorder::barrier() {
  VkMemoryBarrier memory = {};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT;
  memory.dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT;
  device_.vk().CmdPipelineBarrier(buffer_, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                                  VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 0, 1, &memory, 0, nullptr, 0,
                                  nullptr);
}

Result<uint32_t> Recorder::store_slots(std::span<const uint64_t> slots) {
  if (!pages_.empty())
    if (const auto offset = pages_.back()->store(slots)) return *offset;
  TESSERA_ASSIGN(auto page, ArgumentPage::create(device_));
  pages_.push_back(std::move(page));
  return *pages_.back()->store(slots);
}

Result<void> Recorder::launch(runtime::Executable& executable, runtime::Grid grid,
                              std::span<const uint64_t> slots) {
  auto& kernel = static_cast<VulkanExecutable&>(executable);
  TESSERA_ASSIGN(const uint32_t offset, store_slots(slots));
  const ArgumentPage& page = *pages_.back();
  const int64_t programs = grid.programs();
  const PushConstants constants = {page.address() + offset, grid.x | (uint64_t{grid.y} << 32),
                                   static_cast<uint64_t>(programs)};
  TESSERA_ASSIGN(const VkPipeline pipeline, kernel.pipeline_for(slots));
  const DeviceFunctions& vk = device_.vk();
  vk.CmdBindPipeline(buffer_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  const VkDescriptorSet set = page.set();
  vk.CmdBindDescriptorSets(buffer_, VK_PIPELINE_BIND_POINT_COMPUTE, kernel.layout(), 0, 1, &set, 1,
                           &offset);
  vk.CmdPushConstants(buffer_, kernel.layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof constants,
                      &constants);
  vk.CmdDispatch(buffer_, static_cast<uint32_t>(std::min(programs, kMaxGroups)), 1, 1);
  barrier();
  ++commands_;
  if (executables_.empty() || executables_.back().get() != &executable)
    executables_.push_back(executable.shared_from_this());
  return {};
}

void Recorder::copy(runtime::Buffer& to, size_t to_offset, const runtime::Buffer& from,
                    size_t from_offset, size_t bytes) {
  const VkBufferCopy region = {from_offset, to_offset, bytes};
  device_.vk().CmdCopyBuffer(buffer_, vk_buffer(from), vk_buffer(to), 1, &region);
  barrier();
  ++commands_;
}

Result<void> Recorder::copy_from_host(runtime::Buffer& to, size_t offset,
                                      std::span<const std::byte> from) {
  TESSERA_ASSIGN(auto staged, device_.allocate_staging(from.size()));
  std::memcpy(staged->host_data(), from.data(), from.size());
  copy(to, offset, *staged, 0, from.size());
  staged_bytes_ += from.size();
  staged_.push_back(std::move(staged));
  return {};
}

Result<void> Recorder::fill(runtime::Buffer& buffer, size_t offset, size_t bytes, uint32_t pattern,
                            uint32_t pattern_bytes) {
  if (offset % 4 == 0 && bytes % 4 == 0) {
    device_.vk().CmdFillBuffer(buffer_, vk_buffer(buffer), offset, bytes, pattern);
    barrier();
    ++commands_;
    return {};
  }
  // vkCmdFillBuffer writes whole words; only byte patterns come with odd ranges.
  TESSERA_CHECK(pattern_bytes == 1, "a word pattern over {} bytes at {}", bytes, offset);
  const std::vector<std::byte> repeated(bytes, static_cast<std::byte>(pattern));
  return copy_from_host(buffer, offset, repeated);
}

void Recorder::timestamp(VkQueryPool pool) {
  device_.vk().CmdResetQueryPool(buffer_, pool, 0, 1);
  device_.vk().CmdWriteTimestamp(buffer_, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, pool, 0);
  ++commands_;
}

Result<void> Recorder::end() {
  return check(device_.vk().EndCommandBuffer(buffer_), "vkEndCommandBuffer");
}

}  // namespace tessera::chips::vulkan
