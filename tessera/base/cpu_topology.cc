// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/cpu_topology.h"

#include <hwloc.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "tessera/base/cgroup.h"

namespace tessera {
namespace {

/// CPUs of one cgroup v2 folder's cpu.max ("200000 100000" or "max 100000"), 0 = no limit.
double quota_of_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

double quota_of_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"),
      period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) return 0;
  return quota / period;
}

/// The smallest limit on the way from this process's cgroup to the root.
int cgroup_quota() {
  double smallest = 0;
  for (const CgroupFolder& folder : cgroup_folders("cpu")) {
    const double quota = folder.v2 ? quota_of_v2(folder.path) : quota_of_v1(folder.path);
    if (quota > 0 && (smallest == 0 || quota < smallest)) smallest = quota;
  }
  return smallest > 0 ? std::max(1, static_cast<int>(smallest + 0.999)) : 0;
}

int64_t cache_above(hwloc_topology_t topology, hwloc_obj_t core, hwloc_obj_type_t type) {
  hwloc_obj_t cache = hwloc_get_ancestor_obj_by_type(topology, type, core);
  return cache != nullptr ? static_cast<int64_t>(cache->attr->cache.size) : 0;
}

struct DestroyTopology {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};

/// What is known without hwloc (which fails in some sandboxes): the affinity mask.
CpuTopology from_affinity() {
  CpuTopology found;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &mask)) found.cores.push_back({cpu, 0});
  if (found.cores.empty()) found.cores.push_back({0, 0});
  found.hardware_threads = static_cast<int>(found.cores.size());
  return found;
}

CpuTopology from_hwloc() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return {};
  std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, DestroyTopology> topology(raw);
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  if (hwloc_topology_load(raw) != 0) return {};
  std::unique_ptr<std::remove_pointer_t<hwloc_bitmap_t>, decltype(&hwloc_bitmap_free)> mask(
      hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(raw)), &hwloc_bitmap_free);
  std::unique_ptr<std::remove_pointer_t<hwloc_bitmap_t>, decltype(&hwloc_bitmap_free)> bound(
      hwloc_bitmap_alloc(), &hwloc_bitmap_free);
  if (hwloc_get_cpubind(raw, bound.get(), HWLOC_CPUBIND_PROCESS) == 0)
    hwloc_bitmap_and(mask.get(), mask.get(), bound.get());

  CpuTopology found;
  found.hardware_threads = 0;
  std::set<int> nodes;
  std::set<hwloc_obj_t> seen;  // cores, or hardware threads where no core is reported
  for (hwloc_obj_t thread = nullptr;
       (thread = hwloc_get_next_obj_by_type(raw, HWLOC_OBJ_PU, thread)) != nullptr;) {
    if (!hwloc_bitmap_isset(mask.get(), thread->os_index)) continue;
    ++found.hardware_threads;
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(raw, HWLOC_OBJ_CORE, thread);
    if (!seen.insert(core != nullptr ? core : thread).second) continue;
    const int node =
        thread->nodeset != nullptr ? std::max(0, hwloc_bitmap_first(thread->nodeset)) : 0;
    nodes.insert(node);
    if (found.cores.empty()) {
      found.l1d_bytes = cache_above(raw, thread, HWLOC_OBJ_L1CACHE);
      found.l2_bytes = cache_above(raw, thread, HWLOC_OBJ_L2CACHE);
      found.l3_bytes = cache_above(raw, thread, HWLOC_OBJ_L3CACHE);
    }
    found.cores.push_back({static_cast<int>(thread->os_index), node});
  }
  std::ranges::stable_sort(found.cores, {}, &CpuTopology::Core::numa_node);
  found.numa_nodes = std::max<int>(1, static_cast<int>(nodes.size()));
  return found;
}

}  // namespace

int CpuTopology::usable_cores() const {
  const int count = std::max<int>(1, static_cast<int>(cores.size()));
  return quota > 0 ? std::min(count, quota) : count;
}

const CpuTopology& CpuTopology::get() {
  static const CpuTopology topology = [] {
    CpuTopology found = from_hwloc();
    if (found.cores.empty()) found = from_affinity();
    found.quota = cgroup_quota();
    return found;
  }();
  return topology;
}

bool pin_this_thread(int cpu) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (cpu < 0 || cpu >= CPU_SETSIZE) return false;
  CPU_SET(cpu, &mask);
  return pthread_setaffinity_np(pthread_self(), sizeof(mask), &mask) == 0;
}

}  // namespace tessera
