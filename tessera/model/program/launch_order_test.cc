// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/launch_order.h"

#include <gtest/gtest.h>

#include <random>

namespace tessera::model {
namespace {

using Uses = std::vector<ops::MemoryUse>;
using Launches = std::vector<uint32_t>;

ops::MemoryUse read(uint64_t first, uint64_t last) { return {first, last, false}; }
ops::MemoryUse write(uint64_t first, uint64_t last) { return {first, last, true}; }

TEST(LaunchOrder, BranchesMeetWhereTheirResultsDo) {
  LaunchOrder order;
  EXPECT_EQ(order.add(Uses{read(0, 100), write(100, 200)}), Launches{});
  EXPECT_EQ(order.add(Uses{read(0, 100), write(200, 300)}), Launches{}) << "reads share";
  EXPECT_EQ(order.add(Uses{read(150, 160), write(300, 400)}), Launches{0});
  EXPECT_EQ(order.add(Uses{read(250, 350), write(400, 500)}), (Launches{1, 2}));
  EXPECT_EQ(order.add(Uses{read(100, 500)}), Launches{3}) << "0, 1 and 2 are before 3";
}

TEST(LaunchOrder, MemoryIsWrittenAfterItsReaders) {
  LaunchOrder order;
  order.add(Uses{write(0, 64)});
  EXPECT_EQ(order.add(Uses{read(0, 32)}), Launches{0});
  EXPECT_EQ(order.add(Uses{read(32, 64)}), Launches{0});
  EXPECT_EQ(order.add(Uses{write(16, 24)}), Launches{1}) << "2 reads elsewhere";
  EXPECT_EQ(order.add(Uses{read(0, 64), write(0, 64)}), (Launches{2, 3})) << "not for itself";
  EXPECT_EQ(order.add(Uses{write(63, 64), write(64, 65)}), Launches{4});
  EXPECT_EQ(order.add(Uses{read(64, 64), write(70, 70)}), Launches{}) << "nothing at all";
}

TEST(LaunchOrder, AnUnnamedNeighbourIsRememberedToo) {
  LaunchOrder order;
  order.add(Uses{write(40, 60)});
  EXPECT_EQ(order.add(Uses{read(0, 100)}), Launches{0});
  for (const auto& use : {write(10, 20), write(50, 51), write(90, 95)})
    EXPECT_EQ(order.add(Uses{use}), Launches{1});
}

TEST(LaunchOrder, ABarrierIsFollowedByAll) {
  LaunchOrder order;
  order.add(Uses{write(0, 8)});
  order.add(Uses{write(8, 16)});
  EXPECT_EQ(order.add_barrier(), (Launches{0, 1}));
  EXPECT_EQ(order.add(Uses{write(100, 108)}), Launches{2});
  EXPECT_EQ(order.add(Uses{read(100, 108), read(0, 8)}), Launches{3});
}

// By its definition: launches that share memory which one of them writes are ordered, and no
// launch waits for two of which one waits for the other.
TEST(LaunchOrder, OrdersWhatSharesMemoryAndNothingElse) {
  std::mt19937 random(7);
  constexpr size_t kLaunches = 150;
  std::vector<Uses> all;
  std::vector<std::vector<bool>> before;
  LaunchOrder order;
  for (size_t n = 0; n < kLaunches; ++n) {
    Uses uses;
    for (int i = 0; i < 3; ++i) {
      const uint64_t first = random() % 400;
      uses.push_back({first, first + random() % 12, random() % 3 == 0});
    }
    const Launches waits = order.add(uses);
    std::vector<bool> earlier(n), needed(n);
    for (const uint32_t wait : waits) {
      ASSERT_LT(wait, n);
      EXPECT_FALSE(earlier[wait]) << n << " waits for " << wait << " twice";
      earlier[wait] = true;
      for (size_t i = 0; i < wait; ++i) earlier[i] = earlier[i] || before[wait][i];
    }
    for (size_t other = 0; other < n; ++other) {
      bool shares = false;
      for (const auto& a : uses)
        for (const auto& b : all[other])
          shares = shares || ((a.written || b.written) &&
                              std::max(a.first, b.first) < std::min(a.last, b.last));
      if (!shares) continue;
      EXPECT_TRUE(earlier[other]) << n << " and " << other;
      needed[other] = true;
      for (size_t i = 0; i < other; ++i) needed[i] = needed[i] || before[other][i];
    }
    EXPECT_EQ(earlier, needed) << n;
    all.push_back(uses);
    before.push_back(earlier);
  }
}

}  // namespace
}  // namespace tessera::model
