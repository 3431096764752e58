// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/vulkan/alignment.h"

#include <gtest/gtest.h>

namespace tessera::chips::vulkan {
namespace {

using Slots = std::vector<uint32_t>;

/// Header; OpDecorate %5 SpecId 2; OpDecorate %6 Binding 0; OpDecorate %7 SpecId 0.
const Slots kModule = {0x07230203,   0x00010500, 0,  9, 0,  //
                       4 << 16 | 71, 5,          1,  2,     //
                       4 << 16 | 71, 6,          33, 0,     //
                       4 << 16 | 71, 7,          1,  0};

TEST(AlignmentTest, SpecialisationConstantsNameSlots) {
  EXPECT_EQ(aligned_slots(kModule), (Slots{2, 0}));
}

TEST(AlignmentTest, WordsThatEndEarlyNameWhatCameBefore) {
  for (size_t size = 0; size < kModule.size(); ++size)
    EXPECT_EQ(aligned_slots(std::span(kModule).first(size)), size < 9 ? Slots{} : Slots{2}) << size;
  Slots words = kModule;
  words[5] = 71;  // no words long
  EXPECT_EQ(aligned_slots(words), Slots{});
}

TEST(AlignmentTest, OnlyWantedSlotsCount) {
  const std::vector<uint64_t> slots = {32, 7, 4096, 24};
  EXPECT_TRUE(are_aligned({}, slots));
  EXPECT_TRUE(are_aligned(Slots{2, 0}, slots));
  EXPECT_FALSE(are_aligned(Slots{2, 0, 1}, slots));
  EXPECT_FALSE(are_aligned(Slots{3}, slots)) << "8 bytes are not enough";
  EXPECT_FALSE(are_aligned(Slots{4}, slots)) << "a slot that is not there";
}

}  // namespace
}  // namespace tessera::chips::vulkan
