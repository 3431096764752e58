// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/kernel_image.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tessera/base/hash.h"

namespace tessera::runtime {
namespace {

KernelImage sample() {
  KernelImage image;
  image.format = "elf.x86-64";
  image.entry = "rms_norm";
  image.code = {std::byte{1}, std::byte{0}, std::byte{255}};
  image.slot_count = 9;
  image.workgroup_size = 128;
  image.shared_bytes = 4096;
  image.required_features = {"avx512bf16", ""};
  return image;
}

/// Makes the checksum right again, as an attacker would.
void seal(std::vector<std::byte>& bytes) {
  const uint64_t sum = hash128(std::span(bytes).first(bytes.size() - 8)).low;
  std::memcpy(bytes.data() + bytes.size() - 8, &sum, sizeof sum);
}

TEST(KernelImage, SurvivesTheRoundTrip) {
  for (const KernelImage& image : {sample(), KernelImage{}}) {
    auto parsed = parse_kernel_image(serialise(image));
    ASSERT_TRUE(parsed.ok()) << parsed.error().to_string();
    EXPECT_EQ(*parsed, image);
  }
}

TEST(KernelImage, EveryTruncationIsCorrupt) {
  const auto bytes = serialise(sample());
  for (size_t size = 0; size < bytes.size(); ++size) {
    auto parsed = parse_kernel_image(std::span(bytes).first(size));
    ASSERT_FALSE(parsed.ok()) << size;
    EXPECT_EQ(parsed.error().code, ErrorCode::corrupt) << size;
  }
  EXPECT_EQ(parse_kernel_image({}).error().message, "kernel image: 0 bytes are too few");
}

TEST(KernelImage, EveryFlippedBitIsCorrupt) {
  const auto bytes = serialise(sample());
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    auto changed = bytes;
    changed[bit / 8] ^= std::byte(1 << bit % 8);
    auto parsed = parse_kernel_image(changed);
    ASSERT_FALSE(parsed.ok()) << bit;
    EXPECT_EQ(parsed.error().code, ErrorCode::corrupt) << bit;
  }
}

TEST(KernelImage, MagicAndVersionAreNamed) {
  auto bytes = serialise(sample());
  bytes[4] = std::byte{9};
  EXPECT_EQ(parse_kernel_image(bytes).error().message,
            "kernel image: version 9, this program reads 1");
  bytes[0] = std::byte{0};
  EXPECT_EQ(parse_kernel_image(bytes).error().message, "kernel image: bad magic 0x494b5300");
}

TEST(KernelImage, HostileLengthsWithARightChecksumAreCorrupt) {
  const auto bytes = serialise(sample());
  for (size_t at = 8; at + 12 <= bytes.size(); ++at) {
    auto changed = bytes;
    std::memset(changed.data() + at, 0xff, 4);
    seal(changed);
    auto parsed = parse_kernel_image(changed);  // some fields may hold any number
    if (!parsed.ok()) {
      EXPECT_EQ(parsed.error().message, "kernel image: the lengths inside do not match its size");
    }
  }
}

TEST(KernelImage, RandomBytesNeverCrash) {
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    auto bytes = serialise(sample());
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0; --changes)
      bytes[8 + random() % (bytes.size() - 8)] = static_cast<std::byte>(random());
    bytes.resize(16 + random() % (bytes.size() - 15));
    seal(bytes);
    auto parsed = parse_kernel_image(bytes);
    if (parsed.ok()) {
      EXPECT_EQ(serialise(*parsed), bytes);
    }
  }
}

TEST(KernelImage, AWorkgroupOfNoThreadsIsCorrupt) {
  auto image = sample();
  image.workgroup_size = 0;
  EXPECT_EQ(parse_kernel_image(serialise(image)).error().message,
            "kernel image: a workgroup of 0 threads");
}

}  // namespace
}  // namespace tessera::runtime
