// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/float_controls.h"

#include <gtest/gtest.h>

namespace tessera::chips::vulkan {
namespace {

/// Header, OpCapability Shader, OpMemoryModel, OpEntryPoint GLCompute %7 "k", OpExecutionMode %7
/// LocalSize 1 1 1, OpTypeVoid %2.
const std::vector<uint32_t> kModule = {0x07230203,   0x00010500, 0,  9,    0,     //
                                       2 << 16 | 17, 1,                           //
                                       3 << 16 | 14, 5348,       1,               //
                                       4 << 16 | 15, 5,          7,  0x6b,        //
                                       6 << 16 | 16, 7,          17, 1,    1, 1,  //
                                       2 << 16 | 19, 2};

TEST(FloatControlsTest, ModesAndTheirCapabilitiesAreDeclared) {
  std::vector<uint32_t> expected = kModule;
  const std::initializer_list<uint32_t> capabilities = {2 << 16 | 17, 4464, 2 << 16 | 17, 4466},
                                        modes = {4 << 16 | 16, 7, 4459, 32,
                                                 4 << 16 | 16, 7, 4461, 32};
  expected.insert(expected.begin() + 14, modes);  // behind the entry point
  expected.insert(expected.begin() + 5, capabilities);
  EXPECT_EQ(with_float_controls(kModule, {.subnormals = true, .signed_zero_nan = true}), expected);
  EXPECT_EQ(with_float_controls(kModule, {.nearest_even = true}).size(), kModule.size() + 6);
}

TEST(FloatControlsTest, NothingToKeepChangesNothing) {
  EXPECT_EQ(with_float_controls(kModule, {}), kModule);
}

TEST(FloatControlsTest, OtherBytesAreRefused) {
  EXPECT_TRUE(with_float_controls({}, {}).empty());
  std::vector<uint32_t> words = kModule;
  words[0] = 0x03022307;
  EXPECT_TRUE(with_float_controls(words, {}).empty());
  for (size_t cut = 1; cut < kModule.size(); ++cut) {
    const std::span<const uint32_t> part = std::span(kModule).first(kModule.size() - cut);
    const bool whole = cut == 2 || cut == 8;  // behind an instruction that follows the entry point
    EXPECT_EQ(with_float_controls(part, {}).empty(), !whole) << cut << " words short";
  }
  words = kModule;
  words[7] = 14;  // an instruction of no words
  EXPECT_TRUE(with_float_controls(words, {}).empty());
  words = kModule;
  words.insert(words.end(), {4 << 16 | 15, 5, 8, 0x6c});
  EXPECT_TRUE(with_float_controls(words, {}).empty()) << "two entry points";
}

}  // namespace
}  // namespace tessera::chips::vulkan
