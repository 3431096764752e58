// SPDX-License-Identifier: Apache-2.0
// Loops over work of very different sizes, such as kernels to compile: threads of their own, one
// item at a time. Kernels run on ThreadPool.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "tessera/base/cpu_topology.h"

namespace tessera {

/// Calls f(i) for every i below `count`, from up to `threads` threads, this one among them;
/// 0 = one for each usable core. f must not throw.
template <class F>
void for_each_parallel(size_t count, int threads, const F& f) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < count;) f(i);
  };
  const auto wanted =
      static_cast<size_t>(threads > 0 ? threads : CpuTopology::get().usable_cores());
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < std::min(count, wanted); ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace tessera
