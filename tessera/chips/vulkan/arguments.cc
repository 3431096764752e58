// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/arguments.h"

#include <algorithm>
#include <cstring>

namespace tessera::chips::vulkan {
namespace {

constexpr size_t kPageBytes = 64 << 10;
constexpr size_t kRangeBytes = kMaxSlots * sizeof(uint64_t);  // what one launch may see
constexpr size_t kAlignment = 256;  // the largest minUniformBufferOffsetAlignment allowed

}  // namespace

Result<VkDescriptorSetLayout> create_arguments_layout(const DeviceFunctions& vk, VkDevice device) {
  const VkDescriptorSetLayoutBinding binding = {0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC, 1,
                                                VK_SHADER_STAGE_COMPUTE_BIT, nullptr};
  VkDescriptorSetLayoutCreateInfo create = {};
  create.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO;
  create.bindingCount = 1;
  create.pBindings = &binding;
  VkDescriptorSetLayout layout = VK_NULL_HANDLE;
  TESSERA_TRY(check(vk.CreateDescriptorSetLayout(device, &create, nullptr, &layout),
                    "vkCreateDescriptorSetLayout"));
  return layout;
}

Result<std::unique_ptr<ArgumentPage>> ArgumentPage::create(VulkanDevice& device) {
  std::unique_ptr<ArgumentPage> page(new ArgumentPage(device));
  TESSERA_ASSIGN(page->buffer_, device.allocate_staging(kPageBytes + kRangeBytes));
  const DeviceFunctions& vk = device.vk();
  const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC, 1};
  VkDescriptorPoolCreateInfo pool = {};
  pool.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  pool.maxSets = 1;
  pool.poolSizeCount = 1;
  pool.pPoolSizes = &size;
  TESSERA_TRY(check(vk.CreateDescriptorPool(device.handle(), &pool, nullptr, &page->pool_),
                    "vkCreateDescriptorPool"));
  const VkDescriptorSetLayout layout = device.arguments_layout();
  VkDescriptorSetAllocateInfo allocate = {};
  allocate.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
  allocate.descriptorPool = page->pool_;
  allocate.descriptorSetCount = 1;
  allocate.pSetLayouts = &layout;
  TESSERA_TRY(check(vk.AllocateDescriptorSets(device.handle(), &allocate, &page->set_),
                    "vkAllocateDescriptorSets"));
  const VkDescriptorBufferInfo range = {page->buffer_->handle(), 0, kRangeBytes};
  VkWriteDescriptorSet write = {};
  write.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
  write.dstSet = page->set_;
  write.descriptorCount = 1;
  write.descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC;
  write.pBufferInfo = &range;
  vk.UpdateDescriptorSets(device.handle(), 1, &write, 0, nullptr);
  return page;
}

ArgumentPage::~ArgumentPage() {
  device_.vk().DestroyDescriptorPool(device_.handle(), pool_, nullptr);
}

std::optional<uint32_t> ArgumentPage::store(std::span<const uint64_t> slots) {
  const size_t offset = used_;
  const size_t bytes = std::max<size_t>(slots.size_bytes(), 1);
  if (offset + bytes > kPageBytes) return std::nullopt;
  std::memcpy(buffer_->host_data() + offset, slots.data(), slots.size_bytes());
  used_ = (offset + bytes + kAlignment - 1) / kAlignment * kAlignment;
  return static_cast<uint32_t>(offset);
}

}  // namespace tessera::chips::vulkan
