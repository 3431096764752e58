// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/cts/device_fixture.h"

#include "tessera/runtime/cts/verdict.h"

namespace tessera::runtime::cts {

std::string& device_spec() {
  static std::string spec = "cpu";
  return spec;
}

std::span<const KnownFailure> known_failures() {
  const std::string& spec = device_spec();
  auto chip = find_chip(spec.substr(0, spec.find(':')));
  return chip.ok() ? (*chip)->known_failures : std::span<const KnownFailure>{};
}

void DeviceTest::SetUp() {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string name = std::string(test->test_suite_name()) + "." + test->name();
  if (const auto reason = Verdict(known_failures()).never_run(name); !reason.empty())
    GTEST_SKIP() << reason;
  auto opened = open_device(device_spec(), {.guard_end = true});
  ASSERT_OK(opened);
  device = std::move(opened).value();
  auto created = device->create_stream();
  ASSERT_OK(created);
  stream = std::move(created).value();
}

std::unique_ptr<Buffer> DeviceTest::allocate(size_t bytes) {
  return device->allocate(bytes).value();
}

std::unique_ptr<Buffer> DeviceTest::upload(const std::vector<std::byte>& bytes) {
  auto buffer = allocate(bytes.size());
  stream->copy_to_device(*buffer, 0, bytes).value();
  stream->synchronize().value();  // a test may drop the buffer with nothing else queued
  return buffer;
}

std::vector<std::byte> DeviceTest::download(const Buffer& buffer) {
  std::vector<std::byte> bytes(buffer.size(), std::byte{0xee});
  stream->copy_to_host(bytes, buffer, 0).value();
  stream->synchronize().value();
  return bytes;
}

std::vector<std::byte> pattern(size_t bytes, uint32_t seed) {
  std::vector<std::byte> made(bytes);
  uint32_t state = seed * 2654435761u + 1;
  for (std::byte& byte : made) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<std::byte>(state >> 24);
  }
  return made;
}

}  // namespace tessera::runtime::cts
