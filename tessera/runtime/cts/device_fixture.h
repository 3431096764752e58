// SPDX-License-Identifier: Apache-2.0
// Base of all conformance tests: opens the device under test anew for each of them.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tessera/base/testing/expect_result.h"
#include "tessera/runtime/chip_registry.h"
#include "tessera/runtime/device.h"
#include "tessera/runtime/stream.h"

namespace tessera::runtime::cts {

/// The device all tests of this process use; set by main.
std::string& device_spec();
/// The list of the chip under test.
std::span<const KnownFailure> known_failures();

class DeviceTest : public testing::Test {
 protected:
  void SetUp() override;

  std::unique_ptr<Buffer> allocate(size_t bytes);
  /// A buffer holding these bytes.
  std::unique_ptr<Buffer> upload(const std::vector<std::byte>& bytes);
  std::vector<std::byte> download(const Buffer& buffer);

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
};

/// Bytes that differ from their neighbours, from zero runs and from those of another seed.
std::vector<std::byte> pattern(size_t bytes, uint32_t seed);

}  // namespace tessera::runtime::cts
