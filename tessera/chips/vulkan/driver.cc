// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace tessera::chips::vulkan {
namespace {

Error unavailable(std::string message) {
  return make_error(ErrorCode::unavailable, std::move(message));
}

Result<Instance> load() {
  void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return unavailable("no Vulkan loader: libvulkan.so.1 cannot be opened");
  const auto find =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  if (!find) return unavailable("libvulkan.so.1 has no vkGetInstanceProcAddr");
#define VULKAN_GLOBAL(name)                                                           \
  const auto name = reinterpret_cast<PFN_vk##name>(find(VK_NULL_HANDLE, "vk" #name)); \
  if (!name) return unavailable("the Vulkan loader is too old: it lacks vk" #name);
#include "tessera/chips/vulkan/symbols.inc"

  uint32_t version = 0;
  TESSERA_TRY(check(EnumerateInstanceVersion(&version), "vkEnumerateInstanceVersion"));
  if (version < VK_API_VERSION_1_2)
    return unavailable(fmt::format("the Vulkan loader speaks {}.{}; 1.2 is needed",
                                   VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version)));
  // What is newest of what is used here; devices may have less.
  const VkApplicationInfo application = {
      .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
      .pNext = nullptr,
      .pApplicationName = "tessera",
      .applicationVersion = 0,
      .pEngineName = nullptr,
      .engineVersion = 0,
      .apiVersion = version < VK_API_VERSION_1_3 ? VK_API_VERSION_1_2 : VK_API_VERSION_1_3};
  VkInstanceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  Instance instance;
  instance.GetInstanceProcAddr = find;
  if (auto made = check(CreateInstance(&info, nullptr, &instance.handle), "vkCreateInstance");
      !made.ok())
    return unavailable(made.error().message);
#define VULKAN_INSTANCE(name)                                                        \
  instance.name = reinterpret_cast<PFN_vk##name>(find(instance.handle, "vk" #name)); \
  if (!instance.name) return unavailable("the Vulkan driver lacks vk" #name);
#include "tessera/chips/vulkan/symbols.inc"
  return instance;
}

}  // namespace

Result<const Instance*> Instance::open() {
  static const Result<Instance> instance = load();
  if (!instance.ok()) return instance.error();
  return &instance.value();
}

Result<DeviceFunctions> DeviceFunctions::load(const Instance& instance, VkDevice device) {
  DeviceFunctions functions;
#define VULKAN_DEVICE(name)                                                                        \
  functions.name = reinterpret_cast<PFN_vk##name>(instance.GetDeviceProcAddr(device, "vk" #name)); \
  if (!functions.name) return unavailable("the Vulkan driver lacks vk" #name);
#include "tessera/chips/vulkan/symbols.inc"
  return functions;
}

Result<bool> has_extension(const Instance& instance, VkPhysicalDevice device,
                           std::string_view name) {
  constexpr const char* kCall = "vkEnumerateDeviceExtensionProperties";
  uint32_t count = 0;
  TESSERA_TRY(
      check(instance.EnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr), kCall));
  std::vector<VkExtensionProperties> all(count);
  TESSERA_TRY(check(
      instance.EnumerateDeviceExtensionProperties(device, nullptr, &count, all.data()), kCall));
  return std::ranges::any_of(all, [&](const auto& one) { return one.extensionName == name; });
}

Result<void> check(VkResult status, std::string_view what) {
  if (status == VK_SUCCESS) [[likely]]
    return {};
  if (status == VK_ERROR_OUT_OF_DEVICE_MEMORY || status == VK_ERROR_OUT_OF_HOST_MEMORY)
    return out_of_memory(
        fmt::format("{}: out of memory (Vulkan result {})", what, static_cast<int>(status)));
  if (status == VK_ERROR_DEVICE_LOST)
    return make_error(ErrorCode::device_lost, fmt::format("{}: the Vulkan device is lost", what));
  return internal_error(fmt::format("{}: Vulkan result {}", what, static_cast<int>(status)));
}

}  // namespace tessera::chips::vulkan
