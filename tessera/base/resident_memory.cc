// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/resident_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace tessera {

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0, resident = 0;
  return file >> all >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

int64_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

}  // namespace tessera
