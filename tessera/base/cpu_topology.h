// SPDX-License-Identifier: Apache-2.0
// The cores, caches and NUMA nodes this process may use: affinity mask and cgroup quota respected.
#pragma once

#include <cstdint>
#include <vector>

namespace tessera {

struct CpuTopology {
  struct Core {
    int cpu = 0;  // operating system index of its first usable hardware thread
    int numa_node = 0;
  };

  std::vector<Core> cores;   // usable physical cores, ordered by NUMA node
  int hardware_threads = 1;  // usable ones, >= cores.size()
  int quota = 0;             // CPUs granted by the cgroup, rounded up; 0 = no limit
  int numa_nodes = 1;        // nodes that hold usable cores
  int64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;  // of the first core; 0 = unknown or absent

  /// How many threads compute work should use: cores, capped by the quota, at least 1.
  int usable_cores() const;

  /// Found once, at the first call.
  static const CpuTopology& get();
};

/// Binds the calling thread to one hardware thread; false if the system refuses.
bool pin_this_thread(int cpu);

}  // namespace tessera
