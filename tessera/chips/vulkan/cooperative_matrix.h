// SPDX-License-Identifier: Apache-2.0
// What a device says of VK_KHR_cooperative_matrix and VK_KHR_shader_bfloat16. Declared here from
// the extensions' specifications: Debian's headers are older than both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/chips/vulkan/driver.h"

namespace tessera::chips::vulkan {

/// VkPhysicalDeviceCooperativeMatrixFeaturesKHR
struct CooperativeMatrixFeatures {
  VkStructureType sType = static_cast<VkStructureType>(1000506000);
  void* pNext = nullptr;
  VkBool32 cooperativeMatrix = VK_FALSE;
  VkBool32 cooperativeMatrixRobustBufferAccess = VK_FALSE;
};
/// VkPhysicalDeviceShaderBfloat16FeaturesKHR
struct Bfloat16Features {
  VkStructureType sType = static_cast<VkStructureType>(1000141000);
  void* pNext = nullptr;
  VkBool32 shaderBFloat16Type = VK_FALSE;
  VkBool32 shaderBFloat16DotProduct = VK_FALSE;
  VkBool32 shaderBFloat16CooperativeMatrix = VK_FALSE;
};
inline constexpr const char* kCooperativeMatrixExtension = "VK_KHR_cooperative_matrix";
inline constexpr const char* kBfloat16Extension = "VK_KHR_shader_bfloat16";

/// m x k by k x n, both of `operands`, added up in `sums`, by a subgroup.
struct CooperativeShape {
  uint32_t m, n, k;
  std::string_view operands, sums;
  bool operator==(const CooperativeShape&) const = default;
  /// A device's feature: "matrix-16x16x16-bf16-f32".
  std::string feature() const;
};

/// Those of types that have a name here; none without the extension.
Result<std::vector<CooperativeShape>> cooperative_shapes(const Instance& instance,
                                                         VkPhysicalDevice device);

}  // namespace tessera::chips::vulkan
