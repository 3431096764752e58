// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/memory_limit.h"

#include <gtest/gtest.h>

#include "tessera/base/cgroup.h"
#include "tessera/base/testing/temporary_folder.h"

namespace tessera {
namespace {

constexpr int64_t kMiB = 1 << 20;

class MemoryLimitTest : public ::testing::Test {
 protected:
  MemoryLimitTest() {
    write("proc/meminfo", "MemTotal:       8192 kB\nMemFree:  100 kB\nMemAvailable:   6144 kB\n");
  }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    write_file(root_ / name, text);
  }
  MemoryLimit read() { return MemoryLimit::read(root_.path()); }

  TemporaryFolder root_;
};

TEST_F(MemoryLimitTest, WithoutCgroupsItIsTheMachines) {
  EXPECT_EQ(read().total, 8 * kMiB);
  EXPECT_EQ(read().available, 6 * kMiB);
  EXPECT_FALSE(read().is_cgroup);
}

TEST_F(MemoryLimitTest, VersionTwoTakesTheSmallestOnTheWayUp) {
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/b/memory.max", "max\n");
  write("sys/fs/cgroup/a/memory.max", "4194304\n");
  write("sys/fs/cgroup/a/memory.current", "3145728\n");
  write("sys/fs/cgroup/a/memory.stat",
        "anon 1048576\ninactive_file 1048576\nactive_file 1048576\nworkingset_x 5\n");
  EXPECT_EQ(read().total, 4 * kMiB);
  EXPECT_EQ(read().available, 3 * kMiB);  // 3 used, of which 2 are file pages
  EXPECT_TRUE(read().is_cgroup);
  write("sys/fs/cgroup/memory.max", "2097152\n");
  write("sys/fs/cgroup/memory.current", "9097152\n");
  EXPECT_EQ(read().total, 2 * kMiB);
  EXPECT_EQ(read().available, 0);
}

TEST_F(MemoryLimitTest, VersionOneHasOtherNames) {
  write("proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/job\n");
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "5242880\n");
  write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "2097152\n");
  write("sys/fs/cgroup/memory/job/memory.stat",
        "inactive_file 7\ntotal_inactive_file 1048576\ntotal_active_file 0\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(read().total, 5 * kMiB);
  EXPECT_EQ(read().available, 4 * kMiB);
}

TEST_F(MemoryLimitTest, FoldersOfAController) {
  write("proc/self/cgroup", "9:cpu,cpuacct:/x/y\n4:memory:/\n0::/z\nnonsense\n");
  std::vector<std::string> paths;
  const std::string root = root_.path();
  for (const CgroupFolder& folder : cgroup_folders("cpu", root))
    paths.push_back(folder.path.substr(root.size() + 14) + (folder.v2 ? " v2" : ""));
  EXPECT_EQ(paths,
            (std::vector<std::string>{"/cpu/x/y", "/cpu,cpuacct/x/y", "/cpu/x", "/cpu,cpuacct/x",
                                      "/cpu", "/cpu,cpuacct", "/z v2", " v2"}));
}

TEST(MemoryLimit, OfThisProcessIsSound) {
  const MemoryLimit limit = MemoryLimit::read();
  EXPECT_GT(limit.total, 64 * kMiB);
  EXPECT_GT(limit.available, 0);
  EXPECT_LE(limit.available, limit.total);
}

}  // namespace
}  // namespace tessera
