// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/tuning.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/expect_result.h"

namespace tessera::runtime {
namespace {

TEST(Tuning, ChangesWhatItHasHintsFor) {
  Tuning tuning;
  EXPECT_OK(tuning.set("gemm K=64", {{"gemv_rows", 16}, {"dot_tile.8.n", 2}}));
  const Capabilities own, tuned = tuning.apply("gemm K=64", own);
  EXPECT_EQ(tuned.gemv_rows, 16);
  EXPECT_EQ(tuned.dot_tile[1].n, 2);
  EXPECT_EQ(tuned.dot_tile[1].k, own.dot_tile[1].k);
  EXPECT_EQ(difference(own, tuned), (Hints{{"gemv_rows", 16}, {"dot_tile.8.n", 2}}));
  EXPECT_TRUE(difference(own, tuning.apply("gemm K=128", own)).empty());
}

TEST(Tuning, RefusesWhatIsNoHint) {
  Tuning tuning;
  EXPECT_ERROR(invalid_argument, "no hint \"warp_speed\"", tuning.set("a", {{"warp_speed", 8}}));
  EXPECT_ERROR(invalid_argument, "gemv_rows is 24, wanted a power of two from 1 to 4096",
               tuning.set("a", {{"gemv_rows", 24}}));
  EXPECT_ERROR(invalid_argument, "gemv_rows is 0, wanted a power of two from 1 to 4096",
               tuning.set("a", {{"gemv_rows", 0}}));
  EXPECT_ERROR(invalid_argument, "dot_tile.8.m is 16, wanted a power of two from 1 to 8",
               tuning.set("a", {{"dot_tile.8.m", 16}}));
  EXPECT_TRUE(tuning.empty());
}

TEST(Tuning, NeighboursDifferInOneNumber) {
  const Capabilities own;
  const auto all = neighbours(own);
  EXPECT_GT(all.size(), 20u);
  for (const Capabilities& other : all) {
    const Hints changed = difference(own, other);
    ASSERT_EQ(changed.size(), 1u);
    const int64_t before = hints_of(own).at(changed.begin()->first);
    EXPECT_TRUE(changed.begin()->second == 2 * before || 2 * changed.begin()->second == before);
  }
}

}  // namespace
}  // namespace tessera::runtime
