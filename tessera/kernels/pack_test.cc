// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/pack.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/kernels/testing/sample_kernels.h"

namespace tessera::kernels {
namespace {

class PackTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 5; ++i)
      traces_.push_back(testing::scale_trace(i, "test.scale" + std::to_string(i)));
    PackWriter writer("test-1");
    for (const lang::Trace& trace : traces_) add(writer, trace, "arch-b");
    add(writer, traces_[0], "arch-a");
    EXPECT_EQ(writer.size(), 6u);
    const auto bytes = writer.write(file_);
    ASSERT_TRUE(bytes.ok());
    whole_ = read_file(file_);
    EXPECT_EQ(*bytes, whole_.size());
  }

  static void add(PackWriter& writer, const lang::Trace& trace, std::string arch) {
    writer.add(std::move(arch), trace.hash(), trace.name, testing::image_of(trace));
  }

  std::string open_error(const std::string& bytes) {
    write_file(file_, bytes);
    const auto pack = Pack::open(file_);
    if (pack.ok()) return "";
    EXPECT_EQ(pack.error().code, ErrorCode::corrupt);
    return pack.error().message;
  }

  TemporaryFolder folder_;
  std::filesystem::path file_ = folder_ / "a.pack";
  std::vector<lang::Trace> traces_;
  std::string whole_;
};

TEST_F(PackTest, FindsImagesByArchitectureAndTrace) {
  const auto pack = Pack::open(file_);
  ASSERT_TRUE(pack.ok());
  for (const lang::Trace& trace : traces_) {
    const auto image = (*pack)->find("arch-b", trace.hash());
    ASSERT_TRUE(image.ok() && image->has_value());
    EXPECT_EQ(**image, testing::image_of(trace));
  }
  EXPECT_TRUE((*pack)->find("arch-a", traces_[0].hash())->has_value());
  EXPECT_FALSE((*pack)->find("arch-a", traces_[1].hash())->has_value());
  EXPECT_FALSE((*pack)->find("arch-c", traces_[0].hash())->has_value());
}

TEST_F(PackTest, ListsWhatItHolds) {
  const auto pack = Pack::open(file_);
  ASSERT_TRUE(pack.ok());
  EXPECT_EQ((*pack)->entries().size(), 6u);
  EXPECT_EQ((*pack)->entries()[0].kernel, "test.scale0");
  EXPECT_EQ((*pack)->architectures(), (std::vector<std::string>{"arch-a", "arch-b"}));
  EXPECT_EQ((*pack)->compiler_version(), "test-1");
}

TEST_F(PackTest, BytesDoNotDependOnTheOrderOfAdding) {
  PackWriter writer("test-1");
  add(writer, traces_[0], "arch-a");
  for (size_t i = traces_.size(); i-- > 0;) add(writer, traces_[i], "arch-b");
  add(writer, traces_[3], "arch-b");  // again
  ASSERT_TRUE(writer.write(folder_ / "b.pack").ok());
  EXPECT_EQ(read_file(folder_ / "b.pack"), whole_);
}

TEST_F(PackTest, AnEmptyPackIsFine) {
  ASSERT_TRUE(PackWriter("test-1").write(file_).ok());
  const auto pack = Pack::open(file_);
  ASSERT_TRUE(pack.ok());
  EXPECT_TRUE((*pack)->entries().empty());
}

TEST_F(PackTest, ReportsTruncationAnywhere) {
  for (size_t length = 0; length < whole_.size(); length += length < 64 ? 1 : 97)
    EXPECT_NE(open_error(whole_.substr(0, length)), "") << length;
  EXPECT_EQ(open_error(whole_.substr(0, 12)),
            "pack " + file_.string() + ": 12 bytes are too few; make it again with `tessera pack`");
  EXPECT_NE(
      open_error(whole_.substr(0, whole_.size() - 1)).find("truncated: the index ends at byte"),
      std::string::npos);
}

TEST_F(PackTest, NoticesChangedBytesOfHeaderAndIndex) {
  const auto pack = Pack::open(file_);
  ASSERT_TRUE(pack.ok());
  uint64_t index = 0;
  for (const Pack::Entry& entry : (*pack)->entries())
    index = std::max(index, entry.offset + entry.bytes);
  for (size_t i = 0; i < whole_.size(); i = i + 1 == 40 ? index : i + 1) {
    std::string changed = whole_;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_NE(open_error(changed), "") << "byte " << i;
  }
  std::string changed = whole_;
  changed.back() = static_cast<char>(changed.back() ^ 1);
  EXPECT_NE(open_error(changed).find("the checksum of the index does not match"),
            std::string::npos);
  EXPECT_NE(open_error(std::string(100, 'x')).find("not a kernel pack"), std::string::npos);
  changed = whole_;
  changed[4] = 7;
  EXPECT_NE(open_error(changed).find("format version 7, this program reads 2"), std::string::npos);
}

TEST_F(PackTest, NoticesADamagedImageWhenItIsTaken) {
  auto pack = Pack::open(file_);
  ASSERT_TRUE(pack.ok());
  const Pack::Entry damaged = (*pack)->entries()[2];
  std::string changed = whole_;
  changed[damaged.offset + damaged.bytes / 2] ^= 4;
  write_file(file_, changed);
  pack = Pack::open(file_);
  ASSERT_TRUE(pack.ok());
  for (const Pack::Entry& entry : (*pack)->entries())
    EXPECT_EQ((*pack)->find(entry.arch, entry.trace).ok(), entry.offset != damaged.offset);
  const auto image = (*pack)->find(damaged.arch, damaged.trace);
  EXPECT_EQ(image.error().code, ErrorCode::corrupt);
  EXPECT_EQ(image.error().message,
            "pack " + file_.string() + ": the checksum of the image of " + damaged.kernel +
                " (arch-b) does not match; make it again with `tessera pack`");
}

TEST_F(PackTest, AMissingFileIsNamed) {
  const auto pack = Pack::open(folder_ / "none.pack");
  ASSERT_FALSE(pack.ok());
  EXPECT_EQ(pack.error().code, ErrorCode::not_found);
  EXPECT_NE(pack.error().message.find("none.pack"), std::string::npos);
}

TEST_F(PackTest, AnUnwritablePlaceIsAnError) {
  const auto written = PackWriter("test-1").write(folder_ / "no" / "such" / "a.pack");
  ASSERT_FALSE(written.ok());
  EXPECT_NE(written.error().message.find("a.pack"), std::string::npos);
}

}  // namespace
}  // namespace tessera::kernels
