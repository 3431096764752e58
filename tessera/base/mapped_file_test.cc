// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace tessera {
namespace {

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/tessera_mapped_file_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  size_t file_count() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  std::filesystem::path folder_;
};

TEST_F(MappedFileTest, WriteThenMap) {
  const auto path = folder_ / "a.bin";
  ASSERT_TRUE(write_file_atomic(path, "hello").ok());
  auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->text(), "hello");
  EXPECT_EQ(file->bytes().size(), 5u);
  file->will_need(0, 100);
  file->dont_need(3, 1);
  file->will_need(7, 1);
  EXPECT_EQ(file->text(), "hello");
  EXPECT_EQ(file_count(), 1u);

  // The old mapping stays what it was when the file is replaced.
  ASSERT_TRUE(write_file_atomic(path, "new contents").ok());
  EXPECT_EQ(file->text(), "hello");
  EXPECT_EQ(MappedFile::open(path)->text(), "new contents");
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST_F(MappedFileTest, EmptyFileAndMoves) {
  const auto path = folder_ / "empty";
  ASSERT_TRUE(write_file_atomic(path, "").ok());
  MappedFile file = MappedFile::open(path).value();
  EXPECT_TRUE(file.bytes().empty());
  ASSERT_TRUE(write_file_atomic(path, "x").ok());
  file = MappedFile::open(path).value();
  MappedFile other = std::move(file);
  EXPECT_EQ(other.text(), "x");
  EXPECT_TRUE(file.bytes().empty());  // NOLINT: moved-from is empty by contract
}

TEST_F(MappedFileTest, ErrorsNameTheFile) {
  const auto missing = folder_ / "missing";
  auto result = MappedFile::open(missing);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::not_found);
  EXPECT_EQ(result.error().message, "open " + missing.string() + ": No such file or directory");
  EXPECT_EQ(MappedFile::open(folder_).error().message, folder_.string() + " is not a file");
  auto written = write_file_atomic(folder_ / "no" / "such", "x");
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::not_found);
  ASSERT_FALSE(write_file_atomic(folder_, "x").ok());  // a folder is not replaced
  EXPECT_EQ(file_count(), 0u);                         // and nothing is left behind
}

TEST_F(MappedFileTest, ConcurrentWritersNeverMix) {
  const auto path = folder_ / "shared.bin";
  ASSERT_TRUE(write_file_atomic(path, std::string(100'000, 'a')).ok());
  std::vector<std::thread> writers;
  for (char letter : {'a', 'b', 'c'})
    writers.emplace_back([&path, letter] {
      for (int i = 0; i < 5; ++i)
        EXPECT_TRUE(write_file_atomic(path, std::string(100'000, letter)).ok());
    });
  for (int i = 0; i < 30; ++i) {
    const MappedFile file = MappedFile::open(path).value();
    ASSERT_EQ(file.text().size(), 100'000u);
    EXPECT_EQ(std::ranges::count(file.text(), file.text()[0]), 100'000);
  }
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(file_count(), 1u);
}

}  // namespace
}  // namespace tessera
