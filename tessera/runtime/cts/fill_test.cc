// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "tessera/runtime/cts/device_fixture.h"

namespace tessera::runtime::cts {
namespace {

using FillTest = DeviceTest;

TEST_F(FillTest, BytesAtAnyOffset) {
  auto expected = pattern(1000, 1);
  auto buffer = upload(expected);
  const std::pair<size_t, size_t> ranges[] = {{0, 1},   {1, 2},   {3, 5},   {17, 130},
                                              {999, 1}, {400, 0}, {1000, 0}};
  for (const auto& [offset, bytes] : ranges) {
    ASSERT_OK(stream->fill(*buffer, offset, bytes, 0xa5));
    std::fill_n(expected.begin() + static_cast<ptrdiff_t>(offset), bytes, std::byte{0xa5});
    ASSERT_EQ(download(*buffer), expected) << offset;
  }
}

TEST_F(FillTest, Words) {
  auto expected = pattern(1004, 2);
  auto buffer = upload(expected);
  const uint32_t value = 0x01234567;
  for (const auto& [offset, bytes] : {std::pair<size_t, size_t>{4, 4}, {12, 400}, {1000, 4}}) {
    ASSERT_OK(stream->fill_words(*buffer, offset, bytes, value));
    for (size_t i = offset; i < offset + bytes; i += 4) std::memcpy(&expected[i], &value, 4);
    ASSERT_EQ(download(*buffer), expected) << offset;
  }
}

TEST_F(FillTest, LargeOnes) {
  constexpr size_t kBytes = (5 << 20) + 12;
  auto buffer = allocate(kBytes);
  ASSERT_OK(stream->fill(*buffer, 0, kBytes, 0x77));
  EXPECT_EQ(download(*buffer), std::vector(kBytes, std::byte{0x77}));
  ASSERT_OK(stream->fill_words(*buffer, 0, kBytes, 0x04030201));
  const auto filled = download(*buffer);
  for (size_t i = 0; i < kBytes; ++i) ASSERT_EQ(filled[i], static_cast<std::byte>(i % 4 + 1)) << i;
}

TEST_F(FillTest, BadRangesAreRefused) {
  auto buffer = allocate(16);
  EXPECT_ERROR(invalid_argument, "fill: 17 bytes at offset 0 exceed a buffer of 16 bytes",
               stream->fill(*buffer, 0, 17, 0));
  EXPECT_ERROR(invalid_argument, "fill_words: 8 bytes at offset 12 exceed a buffer of 16 bytes",
               stream->fill_words(*buffer, 12, 8, 0));
  EXPECT_ERROR(invalid_argument, "fill_words: 4 bytes at offset 2 are not whole 32-bit words",
               stream->fill_words(*buffer, 2, 4, 0));
  EXPECT_ERROR(invalid_argument, "fill_words: 6 bytes at offset 0 are not whole 32-bit words",
               stream->fill_words(*buffer, 0, 6, 0));
}

}  // namespace
}  // namespace tessera::runtime::cts
