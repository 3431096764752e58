// SPDX-License-Identifier: Apache-2.0
// What a captured launch costs over the work of its kernel: replays of 1000 nodes whose programs do
// almost nothing. The rate to look at is time / nodes.
#include <benchmark/benchmark.h>

#include <bit>

#include "tessera/chips/cpu/device.h"
#include "tessera/chips/cpu/executable.h"

namespace tessera::chips::cpu {
namespace {

constexpr int kNodes = 1000, kMaxPrograms = 1024;

void touch(const uint64_t* slots, const uint32_t*, int64_t begin, int64_t end) {
  auto* out = std::bit_cast<uint64_t*>(slots[0]);
  for (int64_t i = begin; i < end; ++i) out[8 * i] = slots[1];  // a cache line each
}

struct Setup {
  explicit Setup(int threads)
      : device(std::move(devices({.threads = threads, .allow_host_functions = true}).value()[0])),
        stream(device->create_stream().value()),
        kernel(device->load(host_function_image(touch, 2)).value()),
        out(device->allocate(kMaxPrograms * 64).value()) {}

  std::unique_ptr<runtime::Device> device;
  std::unique_ptr<runtime::Stream> stream;
  std::shared_ptr<runtime::Executable> kernel;
  std::unique_ptr<runtime::Buffer> out;
};

/// Threads, programs a node.
void replay(benchmark::State& state) {
  Setup setup(static_cast<int>(state.range(0)));
  const runtime::Grid grid{static_cast<uint32_t>(state.range(1))};
  setup.stream->begin_capture().value();
  for (uint64_t i = 0; i < kNodes; ++i)
    setup.stream->launch(*setup.kernel, grid, {{setup.out->address(), i}}).value();
  auto graph = setup.stream->end_capture().value();
  for (auto _ : state) setup.stream->replay(*graph).value();
  state.counters["per_node"] = benchmark::Counter(
      kNodes, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(replay)
    ->ArgNames({"threads", "programs"})
    ->ArgsProduct({{1, 2}, {1, 2, 64, kMaxPrograms}})
    ->UseRealTime();

void launch(benchmark::State& state) {
  Setup setup(static_cast<int>(state.range(0)));
  const uint64_t slots[] = {setup.out->address(), 1};
  for (auto _ : state) setup.stream->launch(*setup.kernel, {64}, slots).value();
}
BENCHMARK(launch)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();

}  // namespace
}  // namespace tessera::chips::cpu
