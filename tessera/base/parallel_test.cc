// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/parallel.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>

namespace tessera {
namespace {

TEST(ForEachParallel, CallsEveryIndexOnce) {
  for (const int threads : {0, 1, 3, 64})
    for (const size_t count : {size_t{0}, size_t{1}, size_t{50}}) {
      std::vector<std::atomic<int>> calls(count);
      for_each_parallel(count, threads, [&](size_t i) { ++calls[i]; });
      for (const auto& number : calls) EXPECT_EQ(number, 1);
    }
}

TEST(ForEachParallel, TakesNoMoreThreadsThanAsked) {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  for_each_parallel(200, 2, [&](size_t) {
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_LE(seen.size(), 2u);
}

}  // namespace
}  // namespace tessera
