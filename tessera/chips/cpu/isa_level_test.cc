// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/isa_level.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tessera/chips/cpu/device.h"

namespace tessera::chips::cpu {
namespace {

bool contains(const std::vector<std::string>& all, std::string_view one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

TEST(IsaLevel, TheLowestAlwaysRuns) {
  const IsaLevel& lowest = isa_levels().front();
  for (const std::string_view text :
       {lowest.option, lowest.arch, lowest.arch.substr(lowest.arch.find(':') + 1)}) {
    auto level = find_isa_level(text);
    ASSERT_TRUE(level.ok()) << level.error().to_string();
    EXPECT_EQ(*level, &lowest);
  }
}

TEST(IsaLevel, NothingAskedGivesTheBest) { EXPECT_EQ(*find_isa_level(""), &best_isa_level()); }

TEST(IsaLevel, AnUnknownLevelNamesThoseHere) {
  auto level = find_isa_level("avx1024");
  ASSERT_FALSE(level.ok());
  EXPECT_EQ(level.error().code, ErrorCode::invalid_argument);
  const std::string expected = "cpu has no level \"avx1024\"; this processor has: " +
                               std::string(isa_levels().front().option);
  EXPECT_EQ(level.error().message.substr(0, expected.size()), expected);
}

TEST(IsaLevel, ALevelThisMachineLacksNamesThoseItHas) {
  const auto levels = isa_levels();
  if (&best_isa_level() == &levels.back()) GTEST_SKIP() << "this machine has all levels";
  auto level = find_isa_level(levels.back().option);
  ASSERT_FALSE(level.ok());
  EXPECT_EQ(level.error().code, ErrorCode::unsupported);
  EXPECT_NE(level.error().message.find("; it has: " + std::string(levels.front().option)),
            std::string::npos);
}

TEST(IsaLevel, AForcedLevelHidesHigherFeatures) {
  auto here = devices({});
  ASSERT_TRUE(here.ok());
  EXPECT_EQ((*here)[0]->info().arch, best_isa_level().arch);
  EXPECT_EQ((*here)[0]->info().chip, "cpu");
  EXPECT_FALSE((*here)[0]->info().name.empty());
#if defined(__x86_64__)
  const auto baseline = isa_features(isa_levels()[0]);
  EXPECT_TRUE(contains(baseline, "sse2"));
  EXPECT_FALSE(contains(baseline, "avx2"));
  const auto v3 = isa_features(isa_levels()[1]);
  EXPECT_TRUE(contains(v3, "fma"));
  EXPECT_FALSE(contains(v3, "avx512f"));
#endif
}

TEST(IsaLevel, ThreadsAreBounded) {
  EXPECT_EQ(devices({.threads = -1}).error().message,
            "-1 threads asked for; cpu takes 0 (all cores) to 1024");
  EXPECT_EQ(devices({.threads = 3}).value()[0]->info().compute_units, 3);
}

}  // namespace
}  // namespace tessera::chips::cpu
