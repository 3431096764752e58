// SPDX-License-Identifier: Apache-2.0
// How much memory this process may have: that of the machine, less where a cgroup (v1 or v2) says
// so.
#pragma once

#include <cstdint>
#include <string>

namespace tessera {

struct MemoryLimit {
  int64_t total = 0;       // bytes, at most; 0 = unknown
  int64_t available = 0;   // bytes it can get now without pushing anything but file pages out
  bool is_cgroup = false;  // `total` is a cgroup's limit

  /// `root` stands before /proc and /sys.
  static MemoryLimit read(const std::string& root = {});
};

}  // namespace tessera
