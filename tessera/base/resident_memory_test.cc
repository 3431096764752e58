// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/resident_memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace tessera {
namespace {

TEST(ResidentMemory, GrowsWithPagesThatAreTouched) {
  constexpr int64_t kBytes = 64 << 20;
  const int64_t before = resident_bytes();
  int64_t during = 0;
  {
    const std::vector<char> pages(kBytes, 1);
    during = resident_bytes();
    EXPECT_EQ(pages.back(), 1);
  }
  EXPECT_GE(during - before, kBytes * 9 / 10);
  EXPECT_LE(during - before, kBytes * 11 / 10);
  EXPECT_GE(peak_resident_bytes(), during * 9 / 10);
  EXPECT_LE(resident_bytes(), during - kBytes / 2);
}

}  // namespace
}  // namespace tessera
