// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/architecture.h"

#include <gtest/gtest.h>

#include "tessera/chips/vulkan/device.h"

namespace tessera::chips::vulkan {
namespace {

bool has_loader() { return Instance::open().ok(); }

TEST(VulkanArchitectureTest, UnknownOneIsNamedWithThoseThereAre) {
  if (!has_loader()) GTEST_SKIP() << "no Vulkan loader here";
  const auto found = devices({.option = "1.1"});
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().message,
            "no Vulkan architecture \"1.1\"; there are: vulkan:1.2, vulkan:matrix");
}

TEST(VulkanArchitectureTest, DeviceIsThePlainestUnlessAskedForMore) {
  if (!has_loader()) GTEST_SKIP() << "no Vulkan loader here";
  const auto found = devices({}), plain = devices({.option = "1.2"});
  ASSERT_TRUE(found.ok() && plain.ok());
  ASSERT_EQ(found->size(), plain->size());
  for (const auto& device : *found) EXPECT_EQ(device->info().arch, "vulkan:1.2");
}

TEST(VulkanArchitectureTest, MissingMatricesAreSaidToBeMissing) {
  if (!has_loader()) GTEST_SKIP() << "no Vulkan loader here";
  const auto found = devices({.option = "matrix"});
  if (found.ok()) {
    for (const auto& device : *found) EXPECT_EQ(device->info().arch, "vulkan:matrix");
    return;
  }
  EXPECT_EQ(found.error().message,
            "no device here is vulkan:matrix: it needs Vulkan 1.3, VK_KHR_cooperative_matrix, "
            "VK_KHR_shader_bfloat16 with matrix-16x16x16-bf16-f32, and subgroups of 32");
}

}  // namespace
}  // namespace tessera::chips::vulkan
