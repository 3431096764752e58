// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string_view>

#include "tessera/base/cgroup.h"

namespace tessera {
namespace {

/// The number in a file; nullopt for none ("max") or no file.
std::optional<int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

/// The number after `label` at the beginning of a line, or 0.
int64_t labelled(const std::string& path, std::string_view label) {
  std::ifstream file(path);
  int64_t number = 0;
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(label)) number = std::strtoll(line.c_str() + label.size(), nullptr, 10);
  return number;
}

}  // namespace

MemoryLimit MemoryLimit::read(const std::string& root) {
  MemoryLimit limit;
  limit.total = labelled(root + "/proc/meminfo", "MemTotal:") * 1024;
  limit.available = labelled(root + "/proc/meminfo", "MemAvailable:") * 1024;
  for (const CgroupFolder& group : cgroup_folders("memory", root)) {
    const auto file = [&](const char* v1, const char* v2) {
      return group.path + "/" + (group.v2 ? v2 : v1);
    };
    const auto most = number_in(file("memory.limit_in_bytes", "memory.max"));
    if (!most || *most <= 0 || *most >= limit.total) continue;  // v1 writes 2^63 for no limit
    const int64_t used = number_in(file("memory.usage_in_bytes", "memory.current")).value_or(0);
    // File pages count as used, but give way.
    const std::string stat = file("memory.stat", "memory.stat");
    const int64_t files = labelled(stat, group.v2 ? "inactive_file " : "total_inactive_file ") +
                          labelled(stat, group.v2 ? "active_file " : "total_active_file ");
    limit.total = *most;
    limit.is_cgroup = true;
    limit.available =
        std::min(limit.available, std::max<int64_t>(0, *most - std::max<int64_t>(0, used - files)));
  }
  return limit;
}

}  // namespace tessera
