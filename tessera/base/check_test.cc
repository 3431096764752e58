// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/check.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Check, PassesAndEvaluatesOnce) {
  int count = 0;
  TESSERA_CHECK(++count == 1);
  TESSERA_CHECK(++count == 2, "count is {}", count);
  EXPECT_EQ(count, 2);
}

TEST(CheckDeathTest, PrintsConditionPlaceAndMessage) {
  const int row = 7;
  EXPECT_DEATH(TESSERA_CHECK(row < 3, "row {} of {}", row, 3),
               "tessera/base/check_test.cc:[0-9]+: check failed: row < 3: row 7 of 3");
  EXPECT_DEATH(TESSERA_CHECK(row < 3), "check failed: row < 3\n");
  EXPECT_DEATH(TESSERA_UNREACHABLE("state {}", row), "check failed: unreachable: state 7");
}

}  // namespace
}  // namespace tessera
