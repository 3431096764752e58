// SPDX-License-Identifier: Apache-2.0
// Prints the memory ceiling of this machine for each number of threads.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "tessera/chips/cpu/device.h"

namespace tessera::chips::cpu {
namespace {

void memory_ceiling(benchmark::State& state) {
  auto device = std::move(devices({.threads = static_cast<int>(state.range(0))}).value()[0]);
  const auto probe = device->bandwidth_probe({}).value();
  double read = 0, copy = 0;
  for (auto _ : state) {
    read = std::max(read, probe->read_rate().value());
    copy = std::max(copy, probe->copy_rate().value());
  }
  state.counters["read"] = benchmark::Counter(read);
  state.counters["copy"] = benchmark::Counter(copy);
}
BENCHMARK(memory_ceiling)
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(0)
    ->Iterations(5)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tessera::chips::cpu
