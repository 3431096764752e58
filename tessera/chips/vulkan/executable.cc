// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/executable.h"

#include <fmt/format.h>

#include <cstring>

#include "tessera/chips/vulkan/float_controls.h"

namespace tessera::chips::vulkan {

Result<std::shared_ptr<runtime::Executable>> VulkanExecutable::load(
    VulkanDevice& device, const runtime::KernelImage& image) {
  std::vector<uint32_t> words;
  if (!image.code.empty() && image.code.size() % 4 == 0) {
    words.resize(image.code.size() / 4);
    std::memcpy(words.data(), image.code.data(), image.code.size());
    words = with_float_controls(words, device.float_controls());
  }
  if (words.empty())
    return corrupt(fmt::format("kernel {}: {} bytes that are not a SPIR-V module", image.entry,
                               image.code.size()));
  const DeviceFunctions& vk = device.vk();
  std::shared_ptr<VulkanExecutable> executable(new VulkanExecutable(device, image.slot_count));

  const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(PushConstants)};
  VkPipelineLayoutCreateInfo layout = {};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  TESSERA_TRY(
      check(vk.CreatePipelineLayout(device.handle(), &layout, nullptr, &executable->layout_),
            "vkCreatePipelineLayout"));

  VkShaderModuleCreateInfo shader = {};
  shader.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  shader.codeSize = words.size() * 4;
  shader.pCode = words.data();
  VkShaderModule module = VK_NULL_HANDLE;
  TESSERA_TRY(check(vk.CreateShaderModule(device.handle(), &shader, nullptr, &module),
                    fmt::format("vkCreateShaderModule for kernel {}", image.entry)));
  VkComputePipelineCreateInfo create = {};
  create.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = module;
  create.stage.pName = image.entry.c_str();
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo lanes = {};
  lanes.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO;
  lanes.requiredSubgroupSize = kMatrixLanes;
  if (device.architecture().matrix) {
    create.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    create.stage.pNext = &lanes;
  }
  create.layout = executable->layout_;
  const VkResult status = vk.CreateComputePipelines(device.handle(), VK_NULL_HANDLE, 1, &create,
                                                    nullptr, &executable->pipeline_);
  vk.DestroyShaderModule(device.handle(), module, nullptr);
  TESSERA_TRY(check(status, fmt::format("vkCreateComputePipelines for kernel {}", image.entry)));
  return std::shared_ptr<runtime::Executable>(std::move(executable));
}

VulkanExecutable::~VulkanExecutable() {
  auto& device = static_cast<VulkanDevice&>(this->device());
  device.vk().DestroyPipeline(device.handle(), pipeline_, nullptr);
  device.vk().DestroyPipelineLayout(device.handle(), layout_, nullptr);
}

}  // namespace tessera::chips::vulkan
