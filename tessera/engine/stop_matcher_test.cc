// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace tessera::engine {
namespace {

TEST(StopMatcherTest, GivesOutAtOnceWhatCannotBecomeAStopText) {
  StopMatcher stops({"\n\n", "END"});
  EXPECT_EQ(stops.push("abc"), "abc");
  EXPECT_EQ(stops.push("d\n"), "d");
  EXPECT_EQ(stops.push("e E"), "\ne ");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("EN"), "EN");
  EXPECT_EQ(stops.matched(), nullptr);
  EXPECT_EQ(stops.finish(), "EN");
}

TEST(StopMatcherTest, EndsWhereTheFirstToBeCompleteBegins) {
  StopMatcher stops({"cde", "bc"});
  EXPECT_EQ(stops.push("abcdef"), "a");
  ASSERT_NE(stops.matched(), nullptr);
  EXPECT_EQ(*stops.matched(), "bc");
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopMatcherTest, WithoutStopTextsNothingIsHeldBack) {
  StopMatcher stops({});
  EXPECT_EQ(stops.push("abc"), "abc");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopMatcherTest, HowTheTextIsCutDoesNotMatter) {
  const std::vector<std::string> all = {"aab", "ba", "abab"};
  uint64_t random = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i)
      text += "aabc"[(random = random * 6364136223846793005u + 1442695040888963407u) >> 62];
    size_t first = text.size();
    for (size_t end = 1; end <= text.size() && first == text.size(); ++end)
      for (const std::string& stop : all)
        if (text.substr(0, end).ends_with(stop)) first = std::min(first, end - stop.size());
    StopMatcher stops(all);
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + (random = random * 6364136223846793005u + 1) % 3;
      out += stops.push(text.substr(at, n));
      at += n;
    }
    out += stops.finish();
    EXPECT_EQ(out, text.substr(0, first));
    EXPECT_EQ(stops.matched() != nullptr, first < text.size());
  }
}

}  // namespace
}  // namespace tessera::engine
