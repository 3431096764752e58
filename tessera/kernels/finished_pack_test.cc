// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/finished_pack.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/kernels/kernel_library.h"
#include "tessera/kernels/testing/sample_kernels.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::kernels {
namespace {

using testing::scale_trace;

/// The null chip, as if a driver compiled its kernels: "assembly" becomes "trace" by finish().
class FinishingDevice final : public runtime::Device {
 public:
  explicit FinishingDevice(std::unique_ptr<runtime::Device> real)
      : Device(real->info()), real_(std::move(real)) {}

  Result<std::unique_ptr<runtime::Buffer>> allocate(size_t n) override {
    return real_->allocate(n);
  }
  Result<std::unique_ptr<runtime::Stream>> create_stream() override {
    return real_->create_stream();
  }
  Result<std::unique_ptr<runtime::Event>> create_event() override { return real_->create_event(); }
  uint64_t memory_in_use() const override { return 0; }
  uint64_t memory_free() const override { return 0; }

  Result<runtime::KernelImage> finish(const runtime::KernelImage& image) override {
    if (image.entry == failing) return make_error(ErrorCode::corrupt, "the driver refuses it");
    runtime::KernelImage finished = image;
    finished.format = "trace";
    return finished;
  }
  std::string finish_identity() const override { return identity; }
  int64_t driver_compilations() const override { return compilations_; }

  std::string identity = "sm_1-driver7", failing;

 private:
  Result<std::shared_ptr<runtime::Executable>> do_load(const runtime::KernelImage& image) override {
    compilations_ += image.format == "assembly";
    runtime::KernelImage trace = image;
    trace.format = "trace";
    return real_->load(trace);
  }

  std::unique_ptr<runtime::Device> real_;
  int64_t compilations_ = 0;
};

class FinishedPackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto device = runtime::open_device("null");
    ASSERT_TRUE(device.ok());
    device_ = std::make_unique<FinishingDevice>(std::move(*device));
    pack_ = pack_of({scale_trace(2), scale_trace(3)});
  }
  std::shared_ptr<const Pack> pack_of(const std::vector<lang::Trace>& traces) {
    PackWriter writer("test-1");
    for (const lang::Trace& trace : traces) {
      runtime::KernelImage image = testing::image_of(trace);
      image.format = "assembly";
      writer.add(device_->info().arch, trace.hash(), trace.name, image);
    }
    EXPECT_TRUE(writer.write(folder_ / "a.pack").ok());
    return Pack::open(folder_ / "a.pack").value();
  }
  std::string error_of_opening() {
    const auto opened = open_finished(*pack_, *device_);
    return opened.ok() ? "" : opened.error().message;
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }

  TemporaryFolder folder_;
  std::unique_ptr<FinishingDevice> device_;
  std::shared_ptr<const Pack> pack_;
};

TEST_F(FinishedPackTest, NothingIsCompiledAfterIt) {
  KernelLibrary before(*device_, {.packs = {pack_}});
  ASSERT_TRUE(before.get(scale_trace(2)).ok());
  EXPECT_EQ(device_->driver_compilations(), 1);
  EXPECT_EQ(open_finished(*pack_, *device_).value(), nullptr);

  size_t last = 0;
  const auto made = finish(*pack_, *device_, 2, [&](size_t done, size_t) { last = done; });
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(last, 2U);
  EXPECT_EQ((*made)->path(), folder_ / "a.pack.sm_1-driver7");
  const auto finished = open_finished(*pack_, *device_).value();
  ASSERT_NE(finished, nullptr);
  KernelLibrary after(*device_, {.packs = {finished, pack_}});
  ASSERT_TRUE(after.get(scale_trace(2)).ok());
  ASSERT_TRUE(after.get(scale_trace(3)).ok());
  EXPECT_EQ(device_->driver_compilations(), 1);
}

TEST_F(FinishedPackTest, AnotherPackMakesItStaleAndItIsMadeAgain) {
  ASSERT_TRUE(finish(*pack_, *device_, 1).ok());
  pack_ = pack_of({scale_trace(2), scale_trace(5)});
  EXPECT_TRUE(has(error_of_opening(),
                  "a.pack.sm_1-driver7 is stale: it was made for sm_1-driver7 "
                  "from pack "))
      << error_of_opening();
  const auto renewed = open_or_renew_finished(*pack_, *device_, 1);
  ASSERT_TRUE(renewed.ok());
  EXPECT_TRUE((*renewed)->contains(device_->info().arch, scale_trace(5).hash()));
  EXPECT_EQ(error_of_opening(), "");
}

TEST_F(FinishedPackTest, DamageIsRefused) {
  const auto path = finish(*pack_, *device_, 1).value()->path();
  const uint64_t offset = Pack::open(path).value()->entries()[1].offset;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset) + 40);
  file.put('\x7f');
  file.close();
  EXPECT_TRUE(has(error_of_opening(), "the checksum of the image of test.scale"))
      << error_of_opening();
  ASSERT_TRUE(open_or_renew_finished(*pack_, *device_, 1).ok());
  EXPECT_EQ(error_of_opening(), "");
}

TEST_F(FinishedPackTest, OtherDriversHaveTheirOwn) {
  ASSERT_TRUE(finish(*pack_, *device_, 1).ok());
  device_->identity = "sm_1-driver8";
  EXPECT_EQ(open_finished(*pack_, *device_).value(), nullptr);
}

TEST_F(FinishedPackTest, ErrorsAreNamed) {
  device_->failing = "test.scale";
  EXPECT_EQ(finish(*pack_, *device_, 1).error().message, "the driver refuses it");
  EXPECT_FALSE(std::filesystem::exists(finished_path(*pack_, *device_)));
  device_->identity = "";
  EXPECT_EQ(finish(*pack_, *device_, 1).error().message,
            "kernels for null:trace are machine code already: nothing to finish");
}

}  // namespace
}  // namespace tessera::kernels
