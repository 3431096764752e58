// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/cts/device_fixture.h"

namespace tessera::runtime::cts {
namespace {

using LoadTest = DeviceTest;

KernelImage foreign() {
  KernelImage image;
  image.format = "no such format";
  image.entry = "kernel_7";
  image.code = pattern(100, 1);
  return image;
}

TEST_F(LoadTest, AForeignFormatIsNamed) {
  auto kernel = device->load(foreign());
  ASSERT_FALSE(kernel.ok());
  EXPECT_EQ(kernel.error().code, ErrorCode::unsupported);
  const std::string& text = kernel.error().message;
  const std::string expected =
      "kernel kernel_7 has format \"no such format\"; " + device->info().arch + " loads ";
  EXPECT_EQ(text.substr(0, expected.size()), expected);
  EXPECT_GT(text.size(), expected.size());
}

TEST_F(LoadTest, MissingFeaturesAreNamed) {
  auto image = foreign();
  image.required_features = {"no such feature", "nor this"};
  const DeviceInfo& info = device->info();
  EXPECT_ERROR(unsupported,
               "kernel kernel_7 needs no such feature, nor this, which " + info.name + " (" +
                   info.arch + ") lacks",
               device->load(image));
}

/// Whatever a chip accepts, noise in that format is an error and not a crash.
TEST_F(LoadTest, NoiseIsRefused) {
  auto image = foreign();
  const std::string text = device->load(image).error().message;
  std::string accepted = text.substr(text.rfind(" loads ") + 7);
  while (!accepted.empty()) {
    const size_t comma = accepted.find(", ");
    image.format = accepted.substr(0, comma);
    accepted = comma == accepted.npos ? "" : accepted.substr(comma + 2);
    for (const size_t bytes : {0, 1, 20, 1000}) {
      image.code = pattern(bytes, 2);
      EXPECT_FALSE(device->load(image).ok()) << image.format << " " << bytes;
    }
  }
}

TEST_F(LoadTest, ACorruptImageNeverReachesTheChip) {
  auto bytes = serialise(foreign());
  bytes[bytes.size() / 2] ^= std::byte{1};
  auto parsed = parse_kernel_image(bytes);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().code, ErrorCode::corrupt);
}

}  // namespace
}  // namespace tessera::runtime::cts
