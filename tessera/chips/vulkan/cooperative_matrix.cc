// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/cooperative_matrix.h"

#include <fmt/format.h>

#include <algorithm>

namespace tessera::chips::vulkan {
namespace {

/// VkCooperativeMatrixPropertiesKHR
struct Properties {
  VkStructureType sType = static_cast<VkStructureType>(1000506001);
  void* pNext = nullptr;
  uint32_t m = 0, n = 0, k = 0;
  int32_t a_type = 0, b_type = 0, c_type = 0, result_type = 0;  // VkComponentTypeKHR
  VkBool32 saturates = VK_FALSE;
  int32_t scope = 0;  // VkScopeKHR
};
using Query = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*, Properties*);

constexpr int32_t kSubgroup = 3;

/// VkComponentTypeKHR; empty: none that is used here.
std::string_view type_name(int32_t type) {
  switch (type) {
    case 0: return "f16";
    case 1: return "f32";
    case 3: return "i8";
    case 5: return "i32";
    case 1000141000: return "bf16";
    case 1000491002: return "f8e4m3";
    case 1000491003: return "f8e5m2";
    default: return {};
  }
}

}  // namespace

std::string CooperativeShape::feature() const {
  return fmt::format("matrix-{}x{}x{}-{}-{}", m, n, k, operands, sums);
}

Result<std::vector<CooperativeShape>> cooperative_shapes(const Instance& instance,
                                                         VkPhysicalDevice device) {
  std::vector<CooperativeShape> shapes;
  const auto query = reinterpret_cast<Query>(instance.GetInstanceProcAddr(
      instance.handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  TESSERA_ASSIGN(const bool has, has_extension(instance, device, kCooperativeMatrixExtension));
  if (!query || !has) return shapes;
  constexpr const char* kCall = "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR";
  uint32_t count = 0;
  TESSERA_TRY(check(query(device, &count, nullptr), kCall));
  std::vector<Properties> all(count);
  TESSERA_TRY(check(query(device, &count, all.data()), kCall));
  for (const Properties& p : all) {
    const CooperativeShape shape{p.m, p.n, p.k, type_name(p.a_type), type_name(p.c_type)};
    const bool plain = p.scope == kSubgroup && p.a_type == p.b_type && p.c_type == p.result_type &&
                       !p.saturates && !shape.operands.empty() && !shape.sums.empty();
    if (plain && std::ranges::find(shapes, shape) == shapes.end()) shapes.push_back(shape);
  }
  return shapes;
}

}  // namespace tessera::chips::vulkan
