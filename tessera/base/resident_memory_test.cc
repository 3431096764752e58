// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/resident_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

namespace tessera {
namespace {

TEST(ResidentMemory, GrowsWithPagesThatAreTouched) {
  constexpr int64_t kBytes = 64 << 20;
  const int64_t before = resident_bytes();
  // Not from an allocator, which may keep what it got.
  void* const pages =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  std::memset(pages, 1, kBytes);
  const int64_t during = resident_bytes();
  EXPECT_EQ(::munmap(pages, kBytes), 0);
  EXPECT_GE(during - before, kBytes * 9 / 10);
  EXPECT_LE(during - before, kBytes * 11 / 10);
  EXPECT_GE(peak_resident_bytes(), during * 9 / 10);
  EXPECT_LE(resident_bytes(), during - kBytes / 2);
}

}  // namespace
}  // namespace tessera
