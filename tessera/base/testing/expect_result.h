// SPDX-License-Identifier: Apache-2.0
// For tests: expectations on a Result, with the whole error text where they fail.
#pragma once

#include <gtest/gtest.h>

#include "tessera/base/result.h"

#define EXPECT_OK(...)                                        \
  do {                                                        \
    auto&& result_ = (__VA_ARGS__);                           \
    EXPECT_TRUE(result_.ok()) << result_.error().to_string(); \
  } while (false)

#define ASSERT_OK(...)                                        \
  do {                                                        \
    auto&& result_ = (__VA_ARGS__);                           \
    ASSERT_TRUE(result_.ok()) << result_.error().to_string(); \
  } while (false)

/// The operation fails with this code and exactly this message.
#define EXPECT_ERROR(expected_code, expected_message, ...)     \
  do {                                                         \
    auto&& result_ = (__VA_ARGS__);                            \
    ASSERT_FALSE(result_.ok()) << "no error";                  \
    EXPECT_EQ(result_.error().code, ErrorCode::expected_code); \
    EXPECT_EQ(result_.error().message, expected_message);      \
  } while (false)
