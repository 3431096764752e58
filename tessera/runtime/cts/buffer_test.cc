// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "tessera/runtime/cts/device_fixture.h"

namespace tessera::runtime::cts {
namespace {

using BufferTest = DeviceTest;

TEST_F(BufferTest, DeviceDescribesItself) {
  const DeviceInfo& info = device->info();
  EXPECT_FALSE(info.name.empty());
  EXPECT_EQ(info.arch.substr(0, info.chip.size() + 1), info.chip + ":");
  EXPECT_EQ(info.chip, device_spec().substr(0, device_spec().find(':')));
  EXPECT_GT(info.memory_bytes, 0u);
  EXPECT_GT(info.compute_units, 0);
  EXPECT_FALSE(info.native_types.empty());
}

TEST_F(BufferTest, HasTheSizeAskedForAndAnAlignedAddress) {
  for (const size_t bytes : {1, 2, 63, 64, 65, 4095, 4096, 4097, 1 << 20}) {
    auto buffer = device->allocate(bytes);
    ASSERT_OK(buffer);
    EXPECT_EQ((*buffer)->size(), bytes);
    EXPECT_NE((*buffer)->address(), 0u);
    EXPECT_EQ((*buffer)->address() % 64, 0u);
    EXPECT_EQ(&(*buffer)->device(), device.get());
    EXPECT_TRUE((*buffer)->writable());
  }
}

TEST_F(BufferTest, ZeroBytesAreABuffer) {
  auto buffer = device->allocate(0);
  ASSERT_OK(buffer);
  EXPECT_EQ((*buffer)->size(), 0u);
  EXPECT_EQ(download(**buffer).size(), 0u);
}

TEST_F(BufferTest, BuffersDoNotOverlap) {
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (uint32_t i = 0; i < 20; ++i) buffers.push_back(upload(pattern(1000 + i, i)));
  for (uint32_t i = 0; i < 20; ++i) EXPECT_EQ(download(*buffers[i]), pattern(1000 + i, i)) << i;
}

TEST_F(BufferTest, MemoryInUseFollowsTheBuffers) {
  const uint64_t before = device->memory_in_use();
  auto first = allocate(1 << 20);
  auto second = allocate(3 << 20);
  EXPECT_GE(device->memory_in_use(), before + (4u << 20));
  first.reset();
  EXPECT_GE(device->memory_in_use(), before + (3u << 20));
  second.reset();
  EXPECT_EQ(device->memory_in_use(), before);
}

TEST_F(BufferTest, OutOfMemoryNamesTheSizes) {
  const uint64_t total = device->info().memory_bytes, before = device->memory_in_use();
  const uint64_t bytes = total + (1 << 20);
  auto buffer = device->allocate(bytes);
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.error().code, ErrorCode::out_of_memory);
  const std::string text = buffer.error().to_string();
  EXPECT_NE(text.find(fmt::format("{} bytes requested", bytes)), text.npos) << text;
  EXPECT_NE(text.find(fmt::format("free of {}", total)), text.npos) << text;
  EXPECT_EQ(device->memory_in_use(), before);
  ASSERT_OK(device->allocate(4096));  // still usable
}

TEST_F(BufferTest, AbsurdSizesAreOutOfMemory) {
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2}) {
    auto buffer = device->allocate(bytes);
    ASSERT_FALSE(buffer.ok());
    EXPECT_EQ(buffer.error().code, ErrorCode::out_of_memory);
  }
}

TEST_F(BufferTest, ImportedMemoryIsReadInPlaceOrUnsupported) {
  const auto bytes = pattern(10000, 1);
  auto imported = device->import_host(bytes);
  if (!imported.ok()) {
    EXPECT_EQ(imported.error().code, ErrorCode::unsupported);
    EXPECT_EQ(imported.error().message, device->info().arch + " cannot use host memory in place");
    return;
  }
  EXPECT_FALSE((*imported)->writable());
  EXPECT_EQ(download(**imported), bytes);
  auto copy = allocate(5000);
  ASSERT_OK(stream->copy(*copy, 0, **imported, 123, 5000));
  EXPECT_EQ(download(*copy), std::vector(bytes.begin() + 123, bytes.begin() + 5123));
  EXPECT_ERROR(invalid_argument, "fill: the target wraps read-only host memory",
               stream->fill(**imported, 0, 1, 0));
  EXPECT_ERROR(invalid_argument, "copy_to_device: the target wraps read-only host memory",
               stream->copy_to_device(**imported, 0, bytes));
  EXPECT_ERROR(invalid_argument, "copy target: the target wraps read-only host memory",
               stream->copy(**imported, 0, *copy, 0, 1));
}

TEST_F(BufferTest, HostVisibleMemoryHoldsTheSameBytes) {
  const auto bytes = pattern(777, 2);
  auto buffer = upload(bytes);
  ASSERT_OK(stream->synchronize());
  if (buffer->host_data() == nullptr) GTEST_SKIP() << "not host visible";
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), buffer->host_data()));
}

TEST_F(BufferTest, BandwidthIsMeasured) {
  auto probe = device->bandwidth_probe({.bytes = 4 << 20});
  ASSERT_OK(probe);
  const auto read = (*probe)->read_rate(), copy = (*probe)->copy_rate();
  ASSERT_OK(read);
  ASSERT_OK(copy);
  EXPECT_GE(*read, 0.0);  // 0: this chip has no measurement of reads alone
  EXPECT_GT(*copy, 0.0);
}

}  // namespace
}  // namespace tessera::runtime::cts
