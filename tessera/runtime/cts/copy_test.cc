// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tessera/runtime/cts/device_fixture.h"

namespace tessera::runtime::cts {
namespace {

using CopyTest = DeviceTest;
using Bytes = std::vector<std::byte>;

TEST_F(CopyTest, AnySizeSurvivesTheRoundTrip) {
  for (const size_t bytes : {0, 1, 2, 3, 5, 17, 255, 4096, 65537, (3 << 20) + 1}) {
    const auto sent = pattern(bytes, 3);
    EXPECT_EQ(download(*upload(sent)), sent) << bytes;
  }
}

TEST_F(CopyTest, OffsetsTouchNothingElse) {
  auto expected = pattern(1000, 4);
  auto buffer = upload(expected);
  const auto part = pattern(131, 5);
  for (const size_t offset : {0, 1, 7, 64, 500, 869}) {
    ASSERT_OK(stream->copy_to_device(*buffer, offset, part));
    std::copy(part.begin(), part.end(), expected.begin() + static_cast<ptrdiff_t>(offset));
    ASSERT_EQ(download(*buffer), expected) << offset;
    Bytes back(131);
    ASSERT_OK(stream->copy_to_host(back, *buffer, offset));
    ASSERT_OK(stream->synchronize());
    EXPECT_EQ(back, part);
  }
}

TEST_F(CopyTest, BetweenBuffersWithOffsets) {
  const auto source = pattern(5000, 6);
  auto from = upload(source);
  for (const size_t bytes : {1, 3, 4, 63, 1001, 4000}) {
    auto expected = pattern(5000, 7);
    auto to = upload(expected);
    ASSERT_OK(stream->copy(*to, 13, *from, 998, bytes));
    std::copy_n(source.begin() + 998, bytes, expected.begin() + 13);
    EXPECT_EQ(download(*to), expected) << bytes;
  }
}

TEST_F(CopyTest, WithinOneBufferWhenApart) {
  auto expected = pattern(1000, 8);
  auto buffer = upload(expected);
  ASSERT_OK(stream->copy(*buffer, 500, *buffer, 0, 500));
  std::copy_n(expected.begin(), 500, expected.begin() + 500);
  EXPECT_EQ(download(*buffer), expected);
  EXPECT_ERROR(invalid_argument,
               "copy: ranges of 500 bytes at offsets 1 and 500 of one buffer overlap",
               stream->copy(*buffer, 500, *buffer, 1, 500));
}

TEST_F(CopyTest, LargeOnesArrive) {
  const auto source = pattern((9 << 20) + 77, 9);
  auto from = upload(source);
  auto to = allocate(source.size());
  ASSERT_OK(stream->copy(*to, 0, *from, 0, source.size()));
  EXPECT_EQ(download(*to), source);
}

TEST_F(CopyTest, OutOfRangeIsRefusedWithTheNumbers) {
  auto buffer = upload(Bytes(16));
  Bytes bytes(16);
  EXPECT_ERROR(invalid_argument, "copy_to_device: 16 bytes at offset 1 exceed a buffer of 16 bytes",
               stream->copy_to_device(*buffer, 1, bytes));
  EXPECT_ERROR(invalid_argument, "copy_to_host: 16 bytes at offset 8 exceed a buffer of 16 bytes",
               stream->copy_to_host(bytes, *buffer, 8));
  EXPECT_ERROR(invalid_argument, "copy target: 4 bytes at offset 13 exceed a buffer of 16 bytes",
               stream->copy(*buffer, 13, *buffer, 0, 4));
  EXPECT_ERROR(invalid_argument, "copy source: 4 bytes at offset 13 exceed a buffer of 16 bytes",
               stream->copy(*buffer, 0, *buffer, 13, 4));
  // offset + bytes wraps around
  EXPECT_ERROR(invalid_argument,
               "copy target: 2 bytes at offset 18446744073709551615 exceed a buffer of 16 bytes",
               stream->copy(*buffer, SIZE_MAX, *buffer, 0, 2));
  EXPECT_ERROR(invalid_argument,
               "copy target: 18446744073709551615 bytes at offset 2 exceed a buffer of 16 bytes",
               stream->copy(*buffer, 2, *buffer, 0, SIZE_MAX));
}

TEST_F(CopyTest, NothingAtTheEndIsAllowed) {
  auto buffer = upload(Bytes(16));
  ASSERT_OK(stream->copy_to_device(*buffer, 16, {}));
  ASSERT_OK(stream->copy_to_host({}, *buffer, 16));
  ASSERT_OK(stream->copy(*buffer, 16, *buffer, 16, 0));
  EXPECT_ERROR(invalid_argument, "copy_to_host: 0 bytes at offset 17 exceed a buffer of 16 bytes",
               stream->copy_to_host({}, *buffer, 17));
}

TEST_F(CopyTest, TheSourceMayBeReusedAtOnce) {
  auto sent = pattern(100000, 10);
  const auto expected = sent;
  auto buffer = allocate(sent.size());
  ASSERT_OK(stream->copy_to_device(*buffer, 0, sent));
  std::fill(sent.begin(), sent.end(), std::byte{0});
  EXPECT_EQ(download(*buffer), expected);
}

TEST_F(CopyTest, CopiesRunInOrder) {
  auto a = upload(pattern(4096, 11)), b = allocate(4096), c = allocate(4096);
  ASSERT_OK(stream->copy(*b, 0, *a, 0, 4096));
  ASSERT_OK(stream->copy(*c, 0, *b, 0, 4096));
  ASSERT_OK(stream->fill(*b, 0, 4096, 0));
  ASSERT_OK(stream->fill(*a, 0, 4096, 1));
  EXPECT_EQ(download(*c), pattern(4096, 11));
}

TEST_F(CopyTest, AnotherDevicesBufferIsRefused) {
  auto opened = open_device(device_spec());
  ASSERT_OK(opened);
  auto foreign = (*opened)->allocate(16).value();
  const std::string& arch = device->info().arch;
  EXPECT_ERROR(invalid_argument, "fill: the buffer belongs to " + arch + ", the stream to " + arch,
               stream->fill(*foreign, 0, 16, 0));
}

}  // namespace
}  // namespace tessera::runtime::cts
