// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/cgroup.h"

#include <fstream>

namespace tessera {
namespace {

bool lists(const std::string& controllers, std::string_view controller) {
  return ("," + controllers + ",").find("," + std::string(controller) + ",") != std::string::npos;
}

}  // namespace

std::vector<CgroupFolder> cgroup_folders(std::string_view controller, const std::string& root) {
  std::vector<CgroupFolder> folders;
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/path" or "0::/path"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && !lists(controllers, controller)) continue;
    std::vector<std::string> mounts = {root + "/sys/fs/cgroup"};
    if (!v2) {
      mounts = {mounts[0] + "/" + std::string(controller)};
      if (controllers != controller) mounts.push_back(root + "/sys/fs/cgroup/" + controllers);
    }
    std::string path = line.substr(second + 1);
    for (;;) {
      if (path == "/") path.clear();
      for (const std::string& mount : mounts) folders.push_back({mount + path, v2});
      if (path.empty()) break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return folders;
}

}  // namespace tessera
