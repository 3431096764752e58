// SPDX-License-Identifier: Apache-2.0
// The control groups this process is in, where containers and batch systems set limits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tessera {

struct CgroupFolder {
  std::string path;
  bool v2 = false;  // its files have the names of version 2
};

/// Folders with the files of `controller` ("cpu", "memory"): this process's group first, then all
/// above it. Some may not exist. `root` stands before /proc and /sys.
std::vector<CgroupFolder> cgroup_folders(std::string_view controller, const std::string& root = {});

}  // namespace tessera
