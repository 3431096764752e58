// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/log.h"

#include <gtest/gtest.h>

#include <string>

namespace tessera {
namespace {

TEST(Log, WritesToStderrWithPlaceAndLevel) {
  set_log_level(LogLevel::info);
  testing::internal::CaptureStderr();
  TESSERA_LOG(warn, "loaded {} tensors {}", 3, "{}");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("loaded 3 tensors {}"), std::string::npos) << text;
  EXPECT_NE(text.find("log_test.cc:"), std::string::npos) << text;
}

TEST(Log, BelowTheLevelNothingIsEvaluated) {
  set_log_level(LogLevel::error);
  int count = 0;
  TESSERA_LOG(info, "{}", ++count);
  TESSERA_LOG(debug, "{}", ++count);
  EXPECT_EQ(count, 0);
  EXPECT_EQ(log_level(), LogLevel::error);
  EXPECT_FALSE(log_enabled(LogLevel::warn));
  EXPECT_TRUE(log_enabled(LogLevel::error));
}

TEST(LogDeathTest, LevelComesFromTheEnvironment) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";  // a new process reads the variable anew
  setenv("TESSERA_LOG", "debug", 1);
  EXPECT_EXIT(
      {
        TESSERA_LOG(debug, "seen");
        std::exit(log_level() == LogLevel::debug ? 0 : 1);
      },
      testing::ExitedWithCode(0), "seen");
  setenv("TESSERA_LOG", "loud", 1);
  EXPECT_EXIT(
      {
        (void)log_level();
        std::exit(0);
      },
      testing::ExitedWithCode(0), "TESSERA_LOG=loud is none of debug, info, warn, error, off");
  unsetenv("TESSERA_LOG");
}

}  // namespace
}  // namespace tessera
