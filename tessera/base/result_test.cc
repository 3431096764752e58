// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace tessera {
namespace {

Result<int> parse(int text) {
  if (text < 0) return invalid_argument("negative: " + std::to_string(text));
  return text * 2;
}

Result<std::unique_ptr<int>> boxed(int text) {
  TESSERA_ASSIGN(const int value, parse(text));
  return std::make_unique<int>(value);
}

Result<> both(int a, int b) {
  TESSERA_TRY(parse(a));
  int kept = 0;
  TESSERA_ASSIGN(kept, parse(b));
  TESSERA_TRY(Result<>{});
  return kept == 2 * b ? Result<>{} : internal_error("unreachable");
}

TEST(Result, HoldsAValue) {
  Result<int> result = parse(4);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(*result, 8);
  EXPECT_EQ(parse(4).value(), 8);
  Result<std::string> text = "abc";
  EXPECT_EQ(text->size(), 3u);
}

TEST(Result, HoldsAnError) {
  Result<int> result = parse(-1);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(result.error().message, "negative: -1");
  EXPECT_STREQ(result.error().where.function_name(),
               "Result<int> tessera::(anonymous namespace)::parse(int)");
  EXPECT_EQ(parse(-1).value_or(7), 7);
  EXPECT_EQ(parse(1).value_or(7), 2);
}

TEST(Result, CarriesMoveOnlyValues) {
  Result<std::unique_ptr<int>> result = boxed(3);
  ASSERT_TRUE(result.ok());
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 6);
  EXPECT_FALSE(boxed(-3).ok());
}

TEST(Result, TryAndAssignReturnTheError) {
  EXPECT_TRUE(both(1, 2).ok());
  EXPECT_EQ(both(-1, 2).error().message, "negative: -1");
  EXPECT_EQ(both(1, -2).error().message, "negative: -2");
}

TEST(Result, ContextIsPrintedOutermostFirst) {
  const Result<> result = both(-5, 1).context("reading header").context("loading layer 3");
  const std::string text = result.error().to_string();
  EXPECT_TRUE(
      text.starts_with("loading layer 3: reading header: invalid_argument: negative: -5 ("
                       "tessera/base/result_test.cc:"))
      << text;
  EXPECT_TRUE(both(1, 1).context("unused").ok());
}

TEST(Result, EveryCodeHasAMaker) {
  EXPECT_EQ(not_found("").code, ErrorCode::not_found);
  EXPECT_EQ(unsupported("").code, ErrorCode::unsupported);
  EXPECT_EQ(out_of_memory("").code, ErrorCode::out_of_memory);
  EXPECT_EQ(corrupt("").code, ErrorCode::corrupt);
  EXPECT_EQ(io_error("").code, ErrorCode::io);
  EXPECT_EQ(internal_error("").code, ErrorCode::internal);
  EXPECT_EQ(make_error(ErrorCode::device_lost, "gone").to_string().substr(0, 17),
            "device_lost: gone");
  EXPECT_EQ(name(ErrorCode::deadline), "deadline");
}

TEST(ResultDeathTest, ReadingWhatIsNotThereAborts) {
  EXPECT_DEATH((void)parse(-1).value(),
               "value\\(\\) of a failed Result: invalid_argument: negative");
  EXPECT_DEATH((void)parse(1).error(), "error\\(\\) of a Result that holds a value");
}

}  // namespace
}  // namespace tessera
