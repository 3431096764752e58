// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/elf_module.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "tessera/chips/cpu/device.h"

namespace tessera::chips::cpu {
namespace {

using runtime::Device;
using runtime::KernelImage;

std::vector<std::byte> object() {
  std::ifstream file(TESSERA_TEST_KERNEL, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const auto span = std::as_bytes(std::span(bytes));
  return {span.begin(), span.end()};
}

KernelImage image(std::string entry = "scale_add") {
  KernelImage image;
  image.format = elf_format();
  image.entry = std::move(entry);
  image.code = object();
  image.slot_count = 4;
  return image;
}

std::unique_ptr<Device> open(int threads) {
  auto found = devices({.threads = threads});
  return std::move(found.value().front());
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

TEST(ElfModule, RunsAKernelOnEveryProgramOfAGrid) {
  for (const int threads : {1, 2, 3}) {
    const auto device = open(threads);
    auto kernel = device->load(image());
    ASSERT_TRUE(kernel.ok()) << kernel.error().to_string();
    constexpr size_t kPrograms = 3 * 5 * 7, kCount = 4;
    auto in = device->allocate(kPrograms * kCount * 8).value();
    auto out = device->allocate(kPrograms * kCount * 8).value();
    auto* in_words = reinterpret_cast<int64_t*>(in->host_data());
    for (size_t i = 0; i < kPrograms * kCount; ++i) in_words[i] = static_cast<int64_t>(i);
    auto stream = device->create_stream().value();
    const uint64_t slots[] = {out->address(), in->address(), 10, kCount};
    ASSERT_TRUE(stream->launch(**kernel, {3, 5, 7}, slots).ok());
    ASSERT_TRUE(stream->synchronize().ok());
    const auto* out_words = reinterpret_cast<const int64_t*>(out->host_data());
    for (size_t i = 0; i < kPrograms * kCount; ++i)
      ASSERT_EQ(out_words[i], static_cast<int64_t>(10 * i + i / kCount)) << i;
  }
}

TEST(ElfModule, EveryLoadIsAModuleOfItsOwn) {
  const auto bytes = object();
  std::vector<ElfModule> modules;
  std::vector<void*> addresses;
  for (int i = 0; i < 100; ++i) {
    modules.push_back(ElfModule::load(bytes).value());
    addresses.push_back(modules.back().symbol("scale_add").value());
    for (int k = 0; k < i; ++k) ASSERT_NE(addresses[k], addresses[i]);
  }
}

TEST(ElfModule, AMissingEntryIsNamed) {
  auto kernel = open(1)->load(image("other"));
  ASSERT_FALSE(kernel.ok());
  EXPECT_EQ(kernel.error().code, ErrorCode::not_found);
  EXPECT_TRUE(contains(kernel.error().to_string(), "loading kernel other"));
  EXPECT_TRUE(contains(kernel.error().to_string(), "no symbol \"other\""));
}

TEST(ElfModule, TruncatedObjectsAreRefused) {
  const auto bytes = object();
  auto tiny = check_elf(std::span(bytes).first(20));
  ASSERT_FALSE(tiny.ok());
  EXPECT_EQ(tiny.error().message, "kernel object: 20 bytes are too few for an ELF header");
  auto headers = check_elf(std::span(bytes).first(100));
  ASSERT_FALSE(headers.ok());
  EXPECT_EQ(headers.error().message, "kernel object: program headers outside the file");
  auto segments = check_elf(std::span(bytes).first(600));
  ASSERT_FALSE(segments.ok());
  EXPECT_TRUE(contains(segments.error().message, "ends behind the 600 bytes of the file"))
      << segments.error().message;
}

TEST(ElfModule, OtherFilesAreRefused) {
  auto bytes = object();
  auto changed = bytes;
  changed[0] = std::byte{'M'};
  EXPECT_EQ(check_elf(changed).error().message, "kernel object: not an ELF file");
  changed = bytes;
  changed[4] = std::byte{1};  // 32 bits
  EXPECT_EQ(check_elf(changed).error().code, ErrorCode::unsupported);
  changed = bytes;
  changed[16] = std::byte{2};  // executable
  EXPECT_EQ(check_elf(changed).error().message,
            "kernel object: ELF type 2, not a shared object (3)");
  changed = bytes;
  changed[18] = std::byte{8};  // MIPS
  EXPECT_TRUE(contains(check_elf(changed).error().message, "machine 8"));
}

}  // namespace
}  // namespace tessera::chips::cpu
