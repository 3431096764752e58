// SPDX-License-Identifier: Apache-2.0
// The Vulkan loader, opened at run time, and the functions of one device.
#pragma once

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan_core.h>

#include <string_view>

#include "tessera/base/result.h"

namespace tessera::chips::vulkan {

/// The loader with one instance; lives as long as the process.
struct Instance {
  VkInstance handle = VK_NULL_HANDLE;
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr = nullptr;
#define VULKAN_INSTANCE(name) PFN_vk##name name = nullptr;
#include "tessera/chips/vulkan/symbols.inc"

  /// Opens libvulkan.so.1 once a process; `unavailable` when it is absent or older than Vulkan 1.2.
  static Result<const Instance*> open();
};

struct DeviceFunctions {
#define VULKAN_DEVICE(name) PFN_vk##name name = nullptr;
#include "tessera/chips/vulkan/symbols.inc"

  static Result<DeviceFunctions> load(const Instance& instance, VkDevice device);
};

Result<bool> has_extension(const Instance& instance, VkPhysicalDevice device,
                           std::string_view name);

/// Turns a status into an error naming the call; VK_ERROR_DEVICE_LOST gives `device_lost`.
Result<void> check(VkResult status, std::string_view what);

}  // namespace tessera::chips::vulkan
