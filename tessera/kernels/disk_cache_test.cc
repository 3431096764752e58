// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/disk_cache.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "tessera/base/log.h"
#include "tessera/base/mapped_file.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/kernels/testing/sample_kernels.h"

namespace tessera::kernels {
namespace {

class DiskCacheTest : public ::testing::Test {
 protected:
  DiskCacheTest() {
    cache_.store(key_, image_);
    log_level_ = log_level();
  }
  ~DiskCacheTest() override { set_log_level(log_level_); }

  /// What find() logs.
  std::string complaint() {
    ::testing::internal::CaptureStderr();
    EXPECT_FALSE(cache_.find(key_).has_value());
    return ::testing::internal::GetCapturedStderr();
  }

  TemporaryFolder folder_;
  DiskCache cache_{folder_ / "cache"};
  lang::Trace trace_ = testing::scale_trace(2);
  runtime::KernelImage image_ = testing::image_of(trace_);
  Hash128 key_ = DiskCache::key(trace_, "null:trace 1");
  LogLevel log_level_;
};

TEST_F(DiskCacheTest, FindsWhatWasStored) {
  const auto found = cache_.find(key_);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(*found, image_);
  EXPECT_EQ(cache_.usage().files, 1);
  EXPECT_GT(cache_.usage().bytes, 48);
}

TEST_F(DiskCacheTest, ListsAreKeptBesideImages) {
  const Hash128 name = hash128("a model");
  EXPECT_FALSE(cache_.find_list(name).has_value());
  const std::vector<Hash128> keys = {key_, hash128("another")};
  cache_.store_list(name, keys);
  EXPECT_EQ(cache_.find_list(name), keys);
  EXPECT_EQ(cache_.usage().files, 1);
  ASSERT_TRUE(write_file_atomic(cache_.path_of_list(name), std::string_view("damaged")).ok());
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(cache_.find_list(name).has_value());
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("7 bytes are too few"),
            std::string::npos);
}

TEST_F(DiskCacheTest, AnUnknownKeyIsQuietlyAbsent) {
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(cache_.find(DiskCache::key(trace_, "null:trace 2")).has_value());
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(DiskCacheTest, KeysDependOnTraceAndIdentity) {
  EXPECT_NE(key_, DiskCache::key(testing::scale_trace(3), "null:trace 1"));
  EXPECT_NE(key_, DiskCache::key(trace_, "cpu 1"));
  EXPECT_NE(key_, DiskCache::key(trace_, "null:trace 2"));
  EXPECT_EQ(key_, DiskCache::key(testing::scale_trace(2), "null:trace 1"));
}

TEST_F(DiskCacheTest, ReportsEveryTruncation) {
  const std::string whole = read_file(cache_.path_of(key_));
  for (const size_t length : {size_t{0}, size_t{7}, size_t{47}, size_t{48}, whole.size() - 1}) {
    write_file(cache_.path_of(key_), whole.substr(0, length));
    const std::string text = complaint();
    EXPECT_NE(text.find(cache_.path_of(key_).string()), text.npos) << text;
    EXPECT_NE(text.find("compiling anew"), text.npos) << text;
  }
  write_file(cache_.path_of(key_), whole.substr(0, 47));
  EXPECT_NE(complaint().find("47 bytes are too few"), std::string::npos);
}

TEST_F(DiskCacheTest, NoticesEveryChangedByte) {
  const std::string whole = read_file(cache_.path_of(key_));
  set_log_level(LogLevel::off);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    write_file(cache_.path_of(key_), changed);
    EXPECT_FALSE(cache_.find(key_).has_value()) << "byte " << i;
  }
  set_log_level(log_level_);
  std::string changed = whole;
  changed.back() = static_cast<char>(changed.back() ^ 0x10);
  write_file(cache_.path_of(key_), changed);
  const std::string text = complaint();
  EXPECT_NE(text.find("the checksum does not match"), text.npos) << text;
}

TEST_F(DiskCacheTest, RefusesForeignFiles) {
  const std::string whole = read_file(cache_.path_of(key_));
  write_file(cache_.path_of(key_), std::string(200, 'x'));
  EXPECT_NE(complaint().find("not a kernel cache file"), std::string::npos);
  std::string newer = whole;
  newer[4] = 9;
  write_file(cache_.path_of(key_), newer);
  EXPECT_NE(complaint().find("format version 9, this program reads 1"), std::string::npos);
  const Hash128 other = DiskCache::key(trace_, "other");
  write_file(cache_.path_of(other), whole);
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(cache_.find(other).has_value());
  EXPECT_NE(
      ::testing::internal::GetCapturedStderr().find("it holds the kernel of key " + key_.hex()),
      std::string::npos);
}

TEST_F(DiskCacheTest, StoringRepairsADamagedFile) {
  write_file(cache_.path_of(key_), "damaged");
  cache_.store(key_, image_);
  EXPECT_TRUE(cache_.find(key_).has_value());
}

TEST_F(DiskCacheTest, SurvivesConcurrentWritersAndReaders) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        if (t % 2 == 0) cache_.store(key_, image_);
        const auto found = cache_.find(key_);
        if (!found || *found != image_) ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(cache_.usage().files, 1);
}

TEST_F(DiskCacheTest, SurvivesConcurrentProcesses) {
  std::filesystem::remove(cache_.path_of(key_));
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      bool right = true;
      for (int round = 0; round < 20; ++round) {
        DiskCache own(folder_ / "cache");
        if (!own.find(key_)) own.store(key_, image_);
        const auto found = own.find(key_);
        right = right && found && *found == image_;
      }
      ::_exit(right ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(cache_.usage().files, 1);
}

TEST_F(DiskCacheTest, AFolderThatCannotBeMadeWarnsOnce) {
  write_file(folder_ / "file", "not a folder");
  DiskCache blocked(folder_ / "file" / "cache");
  ::testing::internal::CaptureStderr();
  blocked.store(key_, image_);
  blocked.store(key_, image_);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("going on without (set TESSERA_CACHE_DIR to a writable folder)"), text.npos)
      << text;
  EXPECT_EQ(text.find("going on without"), text.rfind("going on without"));
  EXPECT_FALSE(blocked.check_writable().ok());
  EXPECT_TRUE(cache_.check_writable().ok());
}

TEST(DiskCacheFolder, ComesFromTheEnvironment) {
  ::setenv("TESSERA_CACHE_DIR", "/a", 1);
  ::setenv("XDG_CACHE_HOME", "/b", 1);
  EXPECT_EQ(DiskCache::default_folder(), "/a");
  ::unsetenv("TESSERA_CACHE_DIR");
  EXPECT_EQ(DiskCache::default_folder(), "/b/tessera");
  ::unsetenv("XDG_CACHE_HOME");
  ::setenv("HOME", "/c", 1);
  EXPECT_EQ(DiskCache::default_folder(), "/c/.cache/tessera");
  ::unsetenv("HOME");
  EXPECT_EQ(DiskCache::default_folder(), "");
}

}  // namespace
}  // namespace tessera::kernels
