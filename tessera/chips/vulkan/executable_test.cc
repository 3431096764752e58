// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/executable.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tessera/base/testing/expect_result.h"
#include "tessera/chips/vulkan/arguments.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::chips::vulkan {

namespace {

/// An empty kernel "k" with a specialisation constant for slot 1.
const std::vector<uint32_t> kModule = {0x07230203,    0x00010500, 0,  8,    0,     //
                                       2 << 16 | 17,  1,                           //
                                       3 << 16 | 14,  0,          1,               //
                                       4 << 16 | 15,  5,          1,  0x6b,        //
                                       6 << 16 | 16,  1,          17, 1,    1, 1,  //
                                       4 << 16 | 71,  6,          1,  1,           //
                                       2 << 16 | 19,  2,                           //
                                       3 << 16 | 33,  3,          2,               //
                                       2 << 16 | 20,  5,                           //
                                       3 << 16 | 48,  5,          6,               //
                                       5 << 16 | 54,  2,          1,  0,    3,     //
                                       2 << 16 | 248, 4,                           //
                                       1 << 16 | 253,                              //
                                       1 << 16 | 56};

class VulkanExecutableTest : public testing::Test {
 protected:
  void SetUp() override {
    auto found = devices({});
    ASSERT_OK(found);
    if (found->empty()) GTEST_SKIP() << "no Vulkan device here";
    device_ = std::move(found->front());
  }
  Result<std::shared_ptr<runtime::Executable>> load(uint32_t slots) {
    runtime::KernelImage image;
    image.format = "spirv";
    image.entry = "k";
    image.slot_count = slots;
    image.code.resize(kModule.size() * 4);
    std::memcpy(image.code.data(), kModule.data(), image.code.size());
    return device_->load(image);
  }
  std::unique_ptr<runtime::Device> device_;
};

TEST_F(VulkanExecutableTest, ArgumentsChooseThePipeline) {
  auto loaded = load(2);
  ASSERT_OK(loaded);
  auto& kernel = static_cast<VulkanExecutable&>(**loaded);
  const auto pipeline = [&](uint64_t first, uint64_t second) {
    const uint64_t slots[] = {first, second};
    const auto chosen = kernel.pipeline_for(slots);
    EXPECT_OK(chosen);
    return chosen.ok() ? *chosen : VK_NULL_HANDLE;
  };
  const VkPipeline aligned = pipeline(8, 32), unaligned = pipeline(16, 8);
  EXPECT_NE(aligned, unaligned);
  EXPECT_EQ(pipeline(3, 64), aligned);
  EXPECT_EQ(pipeline(3, 65), unaligned) << "it is made once";
}

TEST_F(VulkanExecutableTest, MoreSlotsThanAPageShowsAreRefused) {
  EXPECT_OK(load(kMaxSlots));
  EXPECT_ERROR(unsupported, "kernel k: 513 argument slots, this chip takes 512", load(513));
}

}  // namespace
}  // namespace tessera::chips::vulkan
