// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/guarded_memory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace tessera::chips::cpu {
namespace {

/// True when reading the byte kills a child process.
bool faults(const volatile std::byte* address) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // not the sanitizer's handler: it is slow and prints
    const std::byte byte = *address;
    _exit(static_cast<int>(byte) & 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status);
}

TEST(GuardedMemory, PagesOnBothSidesFault) {
  auto memory = GuardedMemory::map(4096, Placement::kPageStart).value();
  std::memset(memory.data(), 1, 4096);
  EXPECT_FALSE(faults(memory.data()));
  EXPECT_FALSE(faults(memory.data() + 4095));
  EXPECT_TRUE(faults(memory.data() - 1));
  EXPECT_TRUE(faults(memory.data() + 4096));
}

TEST(GuardedMemory, TheEndLiesAtTheGuard) {
  for (const size_t bytes : {1, 63, 64, 65, 4096, 5000, (3 << 20) + 5}) {
    auto memory = GuardedMemory::map(bytes, Placement::kGuardEnd).value();
    const size_t padded = (bytes + 63) / 64 * 64;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 64, 0u);
    std::memset(memory.data(), 1, bytes);
    EXPECT_FALSE(faults(memory.data() + padded - 1)) << bytes;
    EXPECT_TRUE(faults(memory.data() + padded)) << bytes;
  }
}

TEST(GuardedMemory, LargeOnesStartOnAHugePage) {
  auto memory = GuardedMemory::map(GuardedMemory::kHugePage + 1, Placement::kPageStart).value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % GuardedMemory::kHugePage, 0u);
  std::memset(memory.data(), 1, GuardedMemory::kHugePage + 1);
  EXPECT_TRUE(faults(memory.data() - 1));
}

TEST(GuardedMemory, ZeroBytesHaveAnAddressThatFaults) {
  for (const auto placement : {Placement::kPageStart, Placement::kGuardEnd}) {
    auto memory = GuardedMemory::map(0, placement).value();
    ASSERT_NE(memory.data(), nullptr);
    EXPECT_TRUE(faults(memory.data()));
  }
}

TEST(GuardedMemory, AnImpossibleSizeIsRefused) {
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX / 4}) {
    auto memory = GuardedMemory::map(bytes, Placement::kPageStart);
    ASSERT_FALSE(memory.ok());
    EXPECT_EQ(memory.error().code, ErrorCode::out_of_memory);
    EXPECT_EQ(memory.error().message, "the system refused to map " + std::to_string(bytes) +
                                          " bytes: Cannot allocate memory");
  }
}

}  // namespace
}  // namespace tessera::chips::cpu
