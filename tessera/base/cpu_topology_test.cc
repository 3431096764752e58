// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/cpu_topology.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <set>
#include <thread>

namespace tessera {
namespace {

TEST(CpuTopology, UsableCoresAreInTheAffinityMask) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  const CpuTopology& topology = CpuTopology::get();
  ASSERT_FALSE(topology.cores.empty());
  std::set<int> cpus;
  for (const auto& core : topology.cores) {
    EXPECT_TRUE(CPU_ISSET(core.cpu, &mask)) << core.cpu;
    EXPECT_TRUE(cpus.insert(core.cpu).second);
  }
  EXPECT_LE(topology.hardware_threads, CPU_COUNT(&mask));
  EXPECT_GE(topology.hardware_threads, static_cast<int>(topology.cores.size()));
  EXPECT_GE(topology.numa_nodes, 1);
  EXPECT_GE(topology.usable_cores(), 1);
  EXPECT_EQ(&topology, &CpuTopology::get());
}

TEST(CpuTopology, QuotaCapsTheCores) {
  CpuTopology topology;
  EXPECT_EQ(topology.usable_cores(), 1);
  topology.cores.resize(8);
  EXPECT_EQ(topology.usable_cores(), 8);
  topology.quota = 3;
  EXPECT_EQ(topology.usable_cores(), 3);
  topology.quota = 20;
  EXPECT_EQ(topology.usable_cores(), 8);
}

TEST(CpuTopology, PinsAThread) {
  std::thread([] {
    const int cpu = CpuTopology::get().cores.back().cpu;
    EXPECT_TRUE(pin_this_thread(cpu));
    EXPECT_EQ(sched_getcpu(), cpu);
    EXPECT_FALSE(pin_this_thread(-1));
  }).join();
}

}  // namespace
}  // namespace tessera
