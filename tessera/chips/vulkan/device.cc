// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "tessera/chips/vulkan/arguments.h"
#include "tessera/chips/vulkan/cooperative_matrix.h"
#include "tessera/chips/vulkan/executable.h"
#include "tessera/chips/vulkan/stream.h"

namespace tessera::chips::vulkan {
namespace {

constexpr VkBufferUsageFlags kUsage =
    VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT |
    VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
    VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
constexpr VkMemoryPropertyFlags kMappable =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

/// The features kernels rely on, as a chain for queries and for device creation.
struct Features {
  Bfloat16Features bf16 = {};
  CooperativeMatrixFeatures cooperative = {};
  VkPhysicalDeviceVulkan13Features v13 = {};
  VkPhysicalDeviceVulkan12Features v12 = {};
  VkPhysicalDeviceVulkan11Features v11 = {};
  VkPhysicalDeviceFeatures2 core = {};
  /// `matrix`: also those that cooperative matrices rest on, which not every device knows.
  explicit Features(bool matrix) {
    cooperative.pNext = &bf16;
    v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
    v13.pNext = &cooperative;
    v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    if (matrix) v12.pNext = &v13;
    v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    v11.pNext = &v12;
    core.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    core.pNext = &v11;
  }
  Features(const Features&) = delete;
  bool sufficient() const {
    return v12.bufferDeviceAddress && v12.shaderInt8 && v12.storageBuffer8BitAccess &&
           v12.timelineSemaphore && v11.storageBuffer16BitAccess && core.features.shaderInt16 &&
           core.features.shaderInt64;
  }
  bool sufficient_for_matrices() const {
    return sufficient() && v12.vulkanMemoryModel && v13.subgroupSizeControl &&
           v13.computeFullSubgroups && cooperative.cooperativeMatrix && bf16.shaderBFloat16Type &&
           bf16.shaderBFloat16CooperativeMatrix;
  }
  void request(bool matrix) {
    v12.bufferDeviceAddress = v12.shaderInt8 = v12.storageBuffer8BitAccess = v12.timelineSemaphore =
        VK_TRUE;
    v11.storageBuffer16BitAccess = VK_TRUE;
    core.features.shaderInt16 = core.features.shaderInt64 = VK_TRUE;
    if (!matrix) return;
    v12.vulkanMemoryModel = v13.subgroupSizeControl = v13.computeFullSubgroups = VK_TRUE;
    cooperative.cooperativeMatrix = VK_TRUE;
    bf16.shaderBFloat16Type = bf16.shaderBFloat16CooperativeMatrix = VK_TRUE;
  }
};

/// Kernels exchange registers between eight threads.
bool shuffles(const VkPhysicalDeviceVulkan11Properties& properties) {
  constexpr VkSubgroupFeatureFlags kNeeded =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
  return properties.subgroupSize >= 8 &&
         (properties.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
         (properties.subgroupSupportedOperations & kNeeded) == kNeeded;
}

std::optional<uint32_t> find_memory_type(const VkPhysicalDeviceMemoryProperties& memory,
                                         VkMemoryPropertyFlags flags) {
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i)
    if ((memory.memoryTypes[i].propertyFlags & flags) == flags) return i;
  return std::nullopt;
}

Result<std::vector<VkPhysicalDevice>> usable_devices(const Instance& instance) {
  uint32_t count = 0;
  TESSERA_TRY(check(instance.EnumeratePhysicalDevices(instance.handle, &count, nullptr),
                    "vkEnumeratePhysicalDevices"));
  std::vector<VkPhysicalDevice> all(count);
  TESSERA_TRY(check(instance.EnumeratePhysicalDevices(instance.handle, &count, all.data()),
                    "vkEnumeratePhysicalDevices"));
  std::erase_if(all, [&](VkPhysicalDevice device) {
    VkPhysicalDeviceVulkan11Properties v11 = {};
    v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
    VkPhysicalDeviceProperties2 properties = {};
    properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    properties.pNext = &v11;
    instance.GetPhysicalDeviceProperties2(device, &properties);
    if (properties.properties.apiVersion < VK_API_VERSION_1_2 || !shuffles(v11)) return true;
    Features features(/*matrix=*/false);
    instance.GetPhysicalDeviceFeatures2(device, &features.core);
    return !features.sufficient();
  });
  return all;
}

/// Whether kernels of the architecture with matrices run on a device that is usable.
Result<bool> multiplies_matrices(const Instance& instance, VkPhysicalDevice device,
                                 const Architecture& architecture) {
  VkPhysicalDeviceVulkan13Properties v13 = {};
  v13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES;
  VkPhysicalDeviceProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  instance.GetPhysicalDeviceProperties2(device, &properties);
  if (properties.properties.apiVersion < VK_API_VERSION_1_3) return false;
  properties.pNext = &v13;
  instance.GetPhysicalDeviceProperties2(device, &properties);
  const VkPhysicalDeviceLimits& limits = properties.properties.limits;
  if (v13.minSubgroupSize > kMatrixLanes || v13.maxSubgroupSize < kMatrixLanes ||
      !(v13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) ||
      limits.maxComputeSharedMemorySize < architecture.shared_bytes ||
      limits.maxComputeWorkGroupInvocations < architecture.threads)
    return false;
  TESSERA_ASSIGN(const bool bf16, has_extension(instance, device, kBfloat16Extension));
  TESSERA_ASSIGN(const auto shapes, cooperative_shapes(instance, device));
  if (!bf16 || std::ranges::find(shapes, kMatrixShape) == shapes.end()) return false;
  Features features(/*matrix=*/true);
  instance.GetPhysicalDeviceFeatures2(device, &features.core);
  return features.sufficient_for_matrices();
}

/// The architecture that `option` names, or the plainest, if the device is one; null: it is none.
Result<const Architecture*> architecture_of(const Instance& instance, VkPhysicalDevice device,
                                            std::string_view option) {
  const Architecture* chosen = nullptr;
  for (const Architecture& architecture : architectures()) {
    if (architecture.option() != (option.empty() ? architectures().front().option() : option))
      continue;
    if (architecture.matrix) {
      TESSERA_ASSIGN(const bool runs, multiplies_matrices(instance, device, architecture));
      if (!runs) continue;
    }
    chosen = &architecture;
  }
  return chosen;
}

Error no_device_of(std::string_view option) {
  for (const Architecture& architecture : architectures())
    if (architecture.option() == option)
      return not_found(fmt::format(
          "no device here is {}: it needs {}", architecture.name,
          architecture.matrix ? fmt::format("Vulkan 1.3, {}, {} with {}, and subgroups of {}",
                                            kCooperativeMatrixExtension, kBfloat16Extension,
                                            kMatrixShape.feature(), kMatrixLanes)
                              : std::string("Vulkan 1.2 with buffer device addresses")));
  std::vector<std::string_view> known;
  for (const Architecture& architecture : architectures()) known.push_back(architecture.name);
  return not_found(
      fmt::format("no Vulkan architecture \"{}\"; there are: {}", option, fmt::join(known, ", ")));
}

}  // namespace

Result<std::vector<std::unique_ptr<runtime::Device>>> devices(const runtime::ChipOptions& options) {
  std::vector<std::unique_ptr<runtime::Device>> found;
  auto instance = Instance::open();
  if (!instance.ok()) {
    if (options.option.empty()) return found;
    return instance.error();
  }
  TESSERA_ASSIGN(std::vector<VkPhysicalDevice> physical, usable_devices(*instance.value()));
  for (VkPhysicalDevice one : physical) {
    TESSERA_ASSIGN(const Architecture* architecture,
                   architecture_of(*instance.value(), one, options.option));
    if (architecture == nullptr) continue;
    TESSERA_ASSIGN(auto device, VulkanDevice::create(*instance.value(), one, *architecture,
                                                     options.memory_limit));
    found.push_back(std::move(device));
  }
  if (found.empty() && !options.option.empty()) return no_device_of(options.option);
  return found;
}

Result<std::unique_ptr<runtime::Device>> VulkanDevice::create(const Instance& instance,
                                                              VkPhysicalDevice physical,
                                                              const Architecture& architecture,
                                                              uint64_t memory_limit) {
  VkPhysicalDeviceVulkan12Properties v12 = {};
  v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  VkPhysicalDeviceProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &v12;
  instance.GetPhysicalDeviceProperties2(physical, &properties);
  VkPhysicalDeviceMemoryProperties memory = {};
  instance.GetPhysicalDeviceMemoryProperties(physical, &memory);

  runtime::DeviceInfo info;
  info.chip = "vulkan";
  info.name = properties.properties.deviceName;
  info.arch = architecture.name;
  info.compute_units = 1;  // Vulkan does not say
  info.native_types = {DType::f32, DType::i32, DType::i64, DType::i8};
  info.capabilities = architecture.capabilities;
  TESSERA_ASSIGN(const auto shapes, cooperative_shapes(instance, physical));
  for (const CooperativeShape& shape : shapes) info.features.push_back(shape.feature());
  if (architecture.matrix) info.native_types.push_back(DType::bf16);
  for (uint32_t i = 0; i < memory.memoryHeapCount; ++i)
    if (memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
      info.memory_bytes = std::max<uint64_t>(info.memory_bytes, memory.memoryHeaps[i].size);

  std::unique_ptr<VulkanDevice> device(new VulkanDevice(std::move(info)));
  device->architecture_ = &architecture;
  device->memory_limit_ = memory_limit;
  device->float_controls_ = {
      .subnormals = v12.shaderDenormPreserveFloat32 == VK_TRUE,
      .signed_zero_nan = v12.shaderSignedZeroInfNanPreserveFloat32 == VK_TRUE,
      .nearest_even = v12.shaderRoundingModeRTEFloat32 == VK_TRUE,
  };
  device->timestamp_nanoseconds_ = properties.properties.limits.timestampPeriod;

  const auto host = find_memory_type(memory, kMappable);
  const auto local = find_memory_type(memory, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  const auto unified = find_memory_type(memory, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | kMappable);
  if (!host || !local)
    return unsupported(fmt::format("{}: no host-visible memory", device->info().name));
  // A discrete GPU maps only a window of its memory; elsewhere everything is both local and mapped.
  device->device_memory_is_mapped_ =
      unified && properties.properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  device->device_memory_type_ = device->device_memory_is_mapped_ ? *unified : *local;
  device->host_memory_type_ = *host;
  TESSERA_TRY(device->start(instance, physical));
  return std::unique_ptr<runtime::Device>(std::move(device));
}

Result<void> VulkanDevice::start(const Instance& instance, VkPhysicalDevice physical) {
  uint32_t count = 0;
  instance.GetPhysicalDeviceQueueFamilyProperties(physical, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  instance.GetPhysicalDeviceQueueFamilyProperties(physical, &count, families.data());
  const auto compute = std::find_if(families.begin(), families.end(), [](const auto& family) {
    return family.queueFlags & VK_QUEUE_COMPUTE_BIT;
  });
  if (compute == families.end())
    return unsupported(fmt::format("{}: no compute queue", info().name));
  queue_family_ = static_cast<uint32_t>(compute - families.begin());

  const float priority = 1;
  VkDeviceQueueCreateInfo queue = {};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = queue_family_;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  Features features(architecture_->matrix);
  features.request(architecture_->matrix);
  const char* const extensions[] = {kCooperativeMatrixExtension, kBfloat16Extension};
  VkDeviceCreateInfo create = {};
  create.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  create.pNext = &features.core;
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  if (architecture_->matrix) {
    create.enabledExtensionCount = std::size(extensions);
    create.ppEnabledExtensionNames = extensions;
  }
  TESSERA_TRY(check(instance.CreateDevice(physical, &create, nullptr, &device_), "vkCreateDevice"));
  TESSERA_ASSIGN(vk_, DeviceFunctions::load(instance, device_));
  vk_.GetDeviceQueue(device_, queue_family_, 0, &queue_);
  TESSERA_ASSIGN(arguments_layout_, create_arguments_layout(vk_, device_));

  VkSemaphoreTypeCreateInfo type = {};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore = {};
  semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  semaphore.pNext = &type;
  return check(vk_.CreateSemaphore(device_, &semaphore, nullptr, &timeline_), "vkCreateSemaphore");
}

VulkanDevice::~VulkanDevice() {
  if (!vk_.DestroyDevice) return;
  vk_.DeviceWaitIdle(device_);
  vk_.DestroySemaphore(device_, timeline_, nullptr);
  vk_.DestroyDescriptorSetLayout(device_, arguments_layout_, nullptr);
  vk_.DestroyDevice(device_, nullptr);
}

uint64_t VulkanDevice::memory_free() const {
  const uint64_t total =
      memory_limit_ ? std::min(memory_limit_, info().memory_bytes) : info().memory_bytes;
  const uint64_t used = memory_in_use();
  return total > used ? total - used : 0;
}

Result<std::unique_ptr<VulkanBuffer>> VulkanDevice::allocate_from(size_t bytes,
                                                                  uint32_t memory_type,
                                                                  bool counted) {
  VkBufferCreateInfo create = {};
  create.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  create.size = std::max<size_t>((bytes + 3) / 4 * 4, 4);  // fills work on whole words
  create.usage = kUsage;
  VkBuffer handle = VK_NULL_HANDLE;
  TESSERA_TRY(check(vk_.CreateBuffer(device_, &create, nullptr, &handle), "vkCreateBuffer"));
  VkMemoryRequirements needs = {};
  vk_.GetBufferMemoryRequirements(device_, handle, &needs);
  VkMemoryAllocateFlagsInfo flags = {};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate = {};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.pNext = &flags;
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = memory_type;
  VkDeviceMemory memory = VK_NULL_HANDLE;
  const bool refused = counted && bytes > memory_free();
  const VkResult status = refused ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                                  : vk_.AllocateMemory(device_, &allocate, nullptr, &memory);
  if (status != VK_SUCCESS) {
    vk_.DestroyBuffer(device_, handle, nullptr);
    return out_of_memory(fmt::format("{} bytes requested on {}, {} free of {}", bytes, info().name,
                                     memory_free(), info().memory_bytes));
  }
  VkBufferDeviceAddressInfo address = {};
  address.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  address.buffer = handle;
  void* mapped = nullptr;
  auto bound = check(vk_.BindBufferMemory(device_, handle, memory, 0), "vkBindBufferMemory");
  if (bound.ok() && (memory_type == host_memory_type_ || device_memory_is_mapped_))
    bound = check(vk_.MapMemory(device_, memory, 0, VK_WHOLE_SIZE, 0, &mapped), "vkMapMemory");
  const uint64_t base = bound.ok() ? vk_.GetBufferDeviceAddress(device_, &address) : 0;
  if (counted) in_use_.fetch_add(bytes, std::memory_order_relaxed);
  auto buffer = std::make_unique<VulkanBuffer>(*this, handle, memory, base, bytes,
                                               static_cast<std::byte*>(mapped), counted);
  if (!bound.ok()) return bound.error();
  return buffer;
}

VulkanBuffer::~VulkanBuffer() {
  auto& device = static_cast<VulkanDevice&>(this->device());
  if (counted_) device.in_use_.fetch_sub(size(), std::memory_order_relaxed);
  device.vk().DestroyBuffer(device.handle(), handle_, nullptr);
  device.vk().FreeMemory(device.handle(), memory_, nullptr);
}

Result<std::unique_ptr<runtime::Buffer>> VulkanDevice::allocate(size_t bytes) {
  TESSERA_ASSIGN(auto buffer, allocate_from(bytes, device_memory_type_, /*counted=*/true));
  return std::unique_ptr<runtime::Buffer>(std::move(buffer));
}

Result<std::unique_ptr<VulkanBuffer>> VulkanDevice::allocate_staging(size_t bytes) {
  return allocate_from(bytes, host_memory_type_, /*counted=*/false);
}

Result<std::unique_ptr<runtime::Stream>> VulkanDevice::create_stream() {
  return std::unique_ptr<runtime::Stream>(std::make_unique<VulkanStream>(*this));
}

Result<std::unique_ptr<runtime::Event>> VulkanDevice::create_event() {
  return VulkanEvent::create(*this);
}

Result<std::shared_ptr<runtime::Executable>> VulkanDevice::do_load(
    const runtime::KernelImage& image) {
  if (image.format != "spirv") return unknown_format(image, "spirv");
  return VulkanExecutable::load(*this, image);
}

Result<uint64_t> VulkanDevice::submit(VkCommandBuffer commands) {
  std::lock_guard lock(submit_mutex_);
  const uint64_t value = submitted_ + 1;
  VkTimelineSemaphoreSubmitInfo timeline = {};
  timeline.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &value;
  VkSubmitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &timeline;
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &timeline_;
  TESSERA_TRY(check(vk_.QueueSubmit(queue_, 1, &info, VK_NULL_HANDLE), "vkQueueSubmit"));
  submitted_ = value;
  return value;
}

Result<void> VulkanDevice::wait_for(uint64_t timeline_value) {
  VkSemaphoreWaitInfo wait = {};
  wait.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  wait.semaphoreCount = 1;
  wait.pSemaphores = &timeline_;
  wait.pValues = &timeline_value;
  return check(vk_.WaitSemaphores(device_, &wait, UINT64_MAX), "vkWaitSemaphores");
}

Result<bool> VulkanDevice::reached(uint64_t timeline_value) {
  uint64_t now = 0;
  TESSERA_TRY(
      check(vk_.GetSemaphoreCounterValue(device_, timeline_, &now), "vkGetSemaphoreCounterValue"));
  return now >= timeline_value;
}

}  // namespace tessera::chips::vulkan
