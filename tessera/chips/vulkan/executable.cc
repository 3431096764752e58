// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/executable.h"

#include <fmt/format.h>

#include <cstring>

#include "tessera/chips/vulkan/alignment.h"
#include "tessera/chips/vulkan/arguments.h"
#include "tessera/chips/vulkan/float_controls.h"

namespace tessera::chips::vulkan {

VulkanExecutable::VulkanExecutable(VulkanDevice& device, const runtime::KernelImage& image)
    : Executable(device, image.slot_count), entry_(image.entry) {
  if (image.code.empty() || image.code.size() % 4 != 0) return;
  words_.resize(image.code.size() / 4);
  std::memcpy(words_.data(), image.code.data(), image.code.size());
  words_ = with_float_controls(words_, device.float_controls());
  aligned_slots_ = aligned_slots(words_);
}

Result<std::shared_ptr<runtime::Executable>> VulkanExecutable::load(
    VulkanDevice& device, const runtime::KernelImage& image) {
  std::shared_ptr<VulkanExecutable> executable(new VulkanExecutable(device, image));
  if (executable->words_.empty())
    return corrupt(fmt::format("kernel {}: {} bytes that are not a SPIR-V module", image.entry,
                               image.code.size()));
  if (image.slot_count > kMaxSlots)
    return unsupported(fmt::format("kernel {}: {} argument slots, this chip takes {}", image.entry,
                                   image.slot_count, kMaxSlots));
  const VkDescriptorSetLayout arguments = device.arguments_layout();
  const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(PushConstants)};
  VkPipelineLayoutCreateInfo layout = {};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.setLayoutCount = 1;
  layout.pSetLayouts = &arguments;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  TESSERA_TRY(check(
      device.vk().CreatePipelineLayout(device.handle(), &layout, nullptr, &executable->layout_),
      "vkCreatePipelineLayout"));
  TESSERA_ASSIGN(executable->aligned_, executable->create_pipeline(/*aligned=*/true));
  return std::shared_ptr<runtime::Executable>(std::move(executable));
}

Result<VkPipeline> VulkanExecutable::pipeline_for(std::span<const uint64_t> slots) {
  if (are_aligned(aligned_slots_, slots)) return aligned_;
  std::lock_guard lock(mutex_);
  if (!unaligned_) {
    TESSERA_ASSIGN(unaligned_, create_pipeline(/*aligned=*/false));
  }
  return unaligned_;
}

Result<VkPipeline> VulkanExecutable::create_pipeline(bool aligned) {
  auto& device = static_cast<VulkanDevice&>(this->device());
  const DeviceFunctions& vk = device.vk();
  VkShaderModuleCreateInfo shader = {};
  shader.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  shader.codeSize = words_.size() * 4;
  shader.pCode = words_.data();
  VkShaderModule module = VK_NULL_HANDLE;
  TESSERA_TRY(check(vk.CreateShaderModule(device.handle(), &shader, nullptr, &module),
                    fmt::format("vkCreateShaderModule for kernel {}", entry_)));
  const VkBool32 value = aligned ? VK_TRUE : VK_FALSE;  // of all constants
  std::vector<VkSpecializationMapEntry> entries;
  for (uint32_t slot : aligned_slots_) entries.push_back({slot, 0, sizeof value});
  const VkSpecializationInfo constants = {static_cast<uint32_t>(entries.size()), entries.data(),
                                          sizeof value, &value};
  VkComputePipelineCreateInfo create = {};
  create.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = module;
  create.stage.pName = entry_.c_str();
  create.stage.pSpecializationInfo = &constants;
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo lanes = {};
  lanes.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  lanes.requiredSubgroupSize = kMatrixLanes;
  if (device.architecture().matrix) {
    create.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    create.stage.pNext = &lanes;
  }
  create.layout = layout_;
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult status =
      vk.CreateComputePipelines(device.handle(), VK_NULL_HANDLE, 1, &create, nullptr, &pipeline);
  vk.DestroyShaderModule(device.handle(), module, nullptr);
  TESSERA_TRY(check(status, fmt::format("vkCreateComputePipelines for kernel {}", entry_)));
  return pipeline;
}

VulkanExecutable::~VulkanExecutable() {
  auto& device = static_cast<VulkanDevice&>(this->device());
  device.vk().DestroyPipeline(device.handle(), aligned_, nullptr);
  device.vk().DestroyPipeline(device.handle(), unaligned_, nullptr);
  device.vk().DestroyPipelineLayout(device.handle(), layout_, nullptr);
}

}  // namespace tessera::chips::vulkan
