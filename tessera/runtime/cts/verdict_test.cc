// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/cts/verdict.h"

#include <gtest/gtest.h>

namespace tessera::runtime {
namespace {

constexpr KnownFailure kKnown[] = {
    {"Copy.Odd", "no byte copies"}, {"Graph.*", "no graphs"}, {"Fill.Huge", "hangs", true}};

TEST(Verdict, AnUnlistedFailureCounts) {
  Verdict verdict(kKnown);
  EXPECT_TRUE(verdict.add("Event.Order", true));
  EXPECT_TRUE(verdict.ok());
  EXPECT_FALSE(verdict.add("Event.Order", false));
  EXPECT_FALSE(verdict.ok());
}

TEST(Verdict, AListedFailureDoesNot) {
  Verdict verdict(kKnown);
  EXPECT_TRUE(verdict.add("Copy.Odd", false));
  EXPECT_TRUE(verdict.add("Graph.Replay", false));
  EXPECT_TRUE(verdict.add("Graph.Empty", true));  // the pattern still has a failing test
  EXPECT_TRUE(verdict.ok());
  EXPECT_EQ(verdict.expected_failures(), 2);
}

TEST(Verdict, AListedTestThatPassesIsStale) {
  Verdict verdict(kKnown);
  EXPECT_TRUE(verdict.add("Copy.Odd", true));
  EXPECT_FALSE(verdict.ok());
  EXPECT_EQ(verdict.stale(), std::vector<std::string>{"Copy.Odd"});
}

TEST(Verdict, SomeTestsMustNotRun) {
  Verdict verdict(kKnown);
  EXPECT_EQ(verdict.never_run("Fill.Huge"), "hangs");
  EXPECT_EQ(verdict.never_run("Copy.Odd"), "");
}

}  // namespace
}  // namespace tessera::runtime
