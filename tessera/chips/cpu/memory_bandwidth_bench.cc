// SPDX-License-Identifier: Apache-2.0
// Prints the memory ceiling of this machine for each number of threads.
#include <benchmark/benchmark.h>

#include "tessera/chips/cpu/device.h"

namespace tessera::chips::cpu {
namespace {

void memory_ceiling(benchmark::State& state) {
  auto device = std::move(devices({.threads = static_cast<int>(state.range(0))}).value()[0]);
  runtime::BandwidthSample best;
  for (auto _ : state) best = device->measure_bandwidth({}).value().back();
  state.counters["read"] = benchmark::Counter(best.read_rate);
  state.counters["copy"] = benchmark::Counter(best.copy_rate);
}
BENCHMARK(memory_ceiling)
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(0)
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tessera::chips::cpu
