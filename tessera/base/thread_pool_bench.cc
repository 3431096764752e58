// SPDX-License-Identifier: Apache-2.0
// What a fork-join costs over its work: empty bodies back to back, a short loop, and a wake-up.
#include <benchmark/benchmark.h>

#include <chrono>
#include <thread>

#include "tessera/base/thread_pool.h"

namespace tessera {
namespace {

void empty_body(void*, int, int64_t, int64_t) {}

void BM_Dispatch(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  for (auto _ : state) pool.run(0, pool.size(), 1, empty_body, nullptr);
}
BENCHMARK(BM_Dispatch)->Arg(1)->Arg(2)->Arg(4)->UseRealTime();

/// Every chunk spins for range(1) nanoseconds: the ideal is chunks / threads of that.
void BM_Work(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  const auto length = std::chrono::nanoseconds(state.range(1));
  constexpr int64_t kChunks = 16;
  for (auto _ : state)
    pool.run(0, kChunks, 1, [&](int, int64_t, int64_t) {
      const auto end = std::chrono::steady_clock::now() + length;
      while (std::chrono::steady_clock::now() < end) {}
    });
  state.counters["ideal_ns"] =
      static_cast<double>(kChunks * state.range(1)) / static_cast<double>(state.range(0));
}
BENCHMARK(BM_Work)->Args({1, 1000})->Args({2, 1000})->Args({2, 10000})->UseRealTime();

void BM_DispatchToSleepers(benchmark::State& state) {
  ThreadPool pool(2);
  for (auto _ : state) {
    state.PauseTiming();
    std::this_thread::sleep_for(std::chrono::microseconds(300));
    state.ResumeTiming();
    pool.run(0, 2, 1, empty_body, nullptr);
  }
}
BENCHMARK(BM_DispatchToSleepers)->UseRealTime()->Iterations(2000);

}  // namespace
}  // namespace tessera
