// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "tessera/base/cpu_topology.h"

namespace tessera {
namespace {

using namespace std::chrono_literals;

TEST(ThreadPool, CoversEveryRangeOnce) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    for (int64_t count : {0, 1, 2, 5, 64, 1000}) {
      for (int64_t grain : {0, 1, 3, 64, 5000}) {
        std::vector<int> hits(static_cast<size_t>(count));  // plain ints: a race would show in tsan
        pool.run(10, 10 + count, grain, [&](int worker, int64_t b, int64_t e) {
          EXPECT_TRUE(worker >= 0 && worker < threads);
          EXPECT_LE(e - b, std::max<int64_t>(grain, 1));
          EXPECT_EQ((b - 10) % std::max<int64_t>(grain, 1), 0);
          for (int64_t i = b; i < e; ++i) ++hits[static_cast<size_t>(i - 10)];
        });
        EXPECT_EQ(std::count(hits.begin(), hits.end(), 1), count) << threads << ' ' << grain;
      }
    }
  }
}

TEST(ThreadPool, NegativeAndEmptyRanges) {
  ThreadPool pool(2);
  int64_t sum = 0;
  pool.run(5, 5, 1, [&](int, int64_t, int64_t) { ADD_FAILURE(); });
  pool.run(5, -5, 1, [&](int, int64_t, int64_t) { ADD_FAILURE(); });
  pool.run(-4, -1, 100, [&](int, int64_t b, int64_t e) { sum += b * 10 + e; });
  EXPECT_EQ(sum, -41);
}

// Jobs follow each other at every distance: spinning workers, sleeping workers, and those between.
TEST(ThreadPool, ManyJobsInARow) {
  for (int threads : {2, 4}) {
    ThreadPool pool(threads);
    std::vector<int64_t> values(64);
    const int jobs = 20'000;
    for (int job = 0; job < jobs; ++job) {
      pool.run(0, 64, 1 + job % 9, [&](int, int64_t b, int64_t e) {
        for (int64_t i = b; i < e; ++i) values[static_cast<size_t>(i)] += job;
      });
      if (job % 1000 == 0) std::this_thread::sleep_for(std::chrono::microseconds(job / 100));
    }
    for (int64_t value : values) ASSERT_EQ(value, int64_t{jobs} * (jobs - 1) / 2);
  }
}

TEST(ThreadPool, WorkersOwnNumbersAreExclusive) {
  ThreadPool pool(4);
  std::vector<int64_t> per_worker(4);  // not atomic: one worker number never runs twice at once
  for (int job = 0; job < 500; ++job)
    pool.run(0, 100, 1, [&](int worker, int64_t b, int64_t e) { per_worker[worker] += e - b; });
  EXPECT_EQ(std::accumulate(per_worker.begin(), per_worker.end(), int64_t{0}), 50'000);
}

TEST(ThreadPool, LateWorkersAreHelped) {
  ThreadPool pool(2);
  std::atomic<bool> blocked{false};
  std::atomic<int> done{0};
  pool.run(0, 100, 1, [&](int worker, int64_t, int64_t) {
    // The first chunk worker 1 takes is held until all others are done: worker 0 must take the
    // rest.
    if (worker == 1 && !blocked.exchange(true))
      while (done.load() < 99) std::this_thread::yield();
    ++done;
  });
  EXPECT_EQ(done.load(), 100);
}

TEST(ThreadPool, CallsFromInsideABodyRunInPlace) {
  ThreadPool pool(3), other(2);
  std::atomic<int64_t> sum{0};
  pool.run(0, 30, 1, [&](int worker, int64_t, int64_t) {
    const auto thread = std::this_thread::get_id();
    pool.run(0, 10, 3, [&](int inner, int64_t b, int64_t e) {
      EXPECT_EQ(inner, worker);
      EXPECT_EQ(std::this_thread::get_id(), thread);
      sum += e - b;
    });
    other.run(0, 10, 3, [&](int, int64_t b, int64_t e) { sum += e - b; });
  });
  EXPECT_EQ(sum.load(), 600);
  ThreadPool alone(1);
  alone.run(0, 2, 1, [&](int, int64_t, int64_t) {
    alone.run(0, 2, 1, [&](int, int64_t, int64_t) { ++sum; });
  });
  EXPECT_EQ(sum.load(), 604);
}

TEST(ThreadPool, SeveralCallersTakeTurns) {
  ThreadPool pool(2);
  std::vector<std::thread> callers;
  std::atomic<int64_t> total{0};
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      for (int job = 0; job < 300; ++job) {
        int64_t sums[2] = {0, 0};
        pool.run(0, 50, 1, [&](int worker, int64_t b, int64_t) { sums[worker] += b; });
        total += sums[0] + sums[1];
      }
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 900 * 1225);
}

TEST(ThreadPool, SleepingPoolWakesAndEnds) {
  for (int round = 0; round < 20; ++round) {
    ThreadPool pool(3);
    std::this_thread::sleep_for(round % 2 ? 1ms : 0ms);
    std::atomic<int> count{0};
    pool.run(0, 9, 1, [&](int, int64_t, int64_t) { ++count; });
    EXPECT_EQ(count.load(), 9);
  }
}

TEST(ThreadPool, HugeRangeOfHugeChunks) {
  ThreadPool pool(2);
  std::atomic<int64_t> covered{0};
  pool.run(0, int64_t{1} << 62, int64_t{1} << 57,
           [&](int, int64_t b, int64_t e) { covered += (e - b) >> 40; });
  EXPECT_EQ(covered.load(), int64_t{1} << 22);
}

TEST(ThreadPool, DefaultIsAllUsableCores) {
  EXPECT_EQ(ThreadPool().size(), CpuTopology::get().usable_cores());
}

}  // namespace
}  // namespace tessera
