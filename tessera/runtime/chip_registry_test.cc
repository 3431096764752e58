// SPDX-License-Identifier: Apache-2.0
// The registry against a table of made-up chips; the generated table is covered by cts.
#include "tessera/runtime/chip_registry.h"

#include <gtest/gtest.h>

namespace tessera::runtime {

std::span<const ChipEntry> chips() { return {}; }  // instead of the generated table

namespace {

using Devices = Result<std::vector<std::unique_ptr<Device>>>;

class FakeDevice final : public Device {
 public:
  FakeDevice(std::string chip, std::string option, int index)
      : Device({.chip = chip, .name = std::to_string(index), .arch = chip + ":" + option}) {}
  Result<std::unique_ptr<Buffer>> allocate(size_t) override { return unsupported("no memory"); }
  Result<std::unique_ptr<Stream>> create_stream() override { return unsupported("no stream"); }
  Result<std::unique_ptr<Event>> create_event() override { return unsupported("no event"); }
  uint64_t memory_in_use() const override { return 0; }
  uint64_t memory_free() const override { return 0; }

 private:
  Result<std::shared_ptr<Executable>> do_load(const KernelImage& image) override {
    return unknown_format(image, "nothing");
  }
};

Devices two(const ChipOptions& options) {
  std::vector<std::unique_ptr<Device>> found;
  for (int i = 0; i < 2; ++i)
    found.push_back(std::make_unique<FakeDevice>("two", options.option, i));
  return found;
}
Devices none(const ChipOptions&) { return std::vector<std::unique_ptr<Device>>(); }
Devices broken(const ChipOptions&) { return unsupported("driver too old"); }

constexpr ChipEntry kTable[] = {{"two", two, {}}, {"none", none, {}}, {"broken", broken, {}}};

std::string error_of(std::string_view spec) {
  return open_device(spec, {}, kTable).error().message;
}

TEST(ChipRegistry, ASpecNamesChipOptionAndIndex) {
  const auto open = [](std::string_view spec) {
    auto device = open_device(spec, {.option = "from options"}, kTable).value();
    return device->info().arch + " " + device->info().name;
  };
  EXPECT_EQ(open("two"), "two:from options 0");
  EXPECT_EQ(open("two:1"), "two:from options 1");
  EXPECT_EQ(open("two:fast"), "two:fast 0");
  EXPECT_EQ(open("two:fast:1"), "two:fast 1");
}

TEST(ChipRegistry, AnUnknownChipListsThoseThereAre) {
  auto device = open_device("gpu", {}, kTable);
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.error().code, ErrorCode::not_found);
  EXPECT_EQ(device.error().message, "no chip \"gpu\"; this build has: two, none, broken");
}

TEST(ChipRegistry, BadSpecsAreExplained) {
  EXPECT_EQ(error_of(""), "device \"\" has an empty part");
  EXPECT_EQ(error_of(":1"), "device \":1\" has an empty part");
  EXPECT_EQ(error_of("two::1"), "device \"two::1\" has an empty part");
  EXPECT_EQ(error_of("two:a:b"), "device \"two:a:b\" is not chip[:option][:index]");
}

TEST(ChipRegistry, AMissingDeviceSaysHowManyThereAre) {
  EXPECT_EQ(error_of("two:2"), "no device \"two:2\": chip two has 2 device(s) here");
  EXPECT_EQ(error_of("none"), "no device \"none\": chip none has no device here");
}

TEST(ChipRegistry, AChipsOwnErrorGetsTheSpec) {
  auto device = open_device("broken:x", {}, kTable);
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.error().code, ErrorCode::unsupported);
  EXPECT_EQ(device.error().context, std::vector<std::string>{"opening broken:x"});
}

TEST(ChipRegistry, AllDevicesLeavesBrokenChipsOut) {
  EXPECT_EQ(all_devices({}, kTable).size(), 2u);
}

TEST(Device, WhatAChipDoesNotOfferIsUnsupported) {
  auto device = open_device("two:x", {}, kTable).value();
  EXPECT_EQ(device->import_host({}).error().message, "two:x cannot use host memory in place");
  KernelImage image;
  image.format = "elf.vax";
  image.entry = "main";
  EXPECT_EQ(device->load(image).error().message,
            "kernel main has format \"elf.vax\"; two:x loads nothing");
}

TEST(Grid, CountsProgramsWithoutOverflow) {
  EXPECT_EQ((Grid{3, 5, 7}.programs()), 105);
  EXPECT_EQ((Grid{0, 5, 7}.programs()), 0);
  EXPECT_EQ((Grid{UINT32_MAX, UINT32_MAX, 0}.programs()), 0);
  EXPECT_EQ((Grid{UINT32_MAX, UINT32_MAX, UINT32_MAX}.programs()), INT64_MAX);
}

}  // namespace
}  // namespace tessera::runtime
