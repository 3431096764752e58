// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/score.h"

#include <gtest/gtest.h>

namespace tessera::engine {
namespace {

Question asks(std::string answer, Match match = Match::text) {
  return {.task = "a", .messages = {}, .match = match, .answer = std::move(answer)};
}

bool right(const Question& question, std::string text, bool reasoning = false,
           FinishReason finish = FinishReason::end_token) {
  Answer answer;
  answer.text = std::move(text);
  answer.finish = finish;
  return is_right(question, answer, reasoning);
}

TEST(ScoreTest, TextCountsLetterForLetter) {
  EXPECT_TRUE(right(asks("12"), " 12\n"));
  EXPECT_FALSE(right(asks("12"), "123"));
  EXPECT_FALSE(right(asks("12"), "It is 12"));
  EXPECT_FALSE(right(asks("12"), "12", false, FinishReason::length));
}

TEST(ScoreTest, ReasoningDoesNotCount) {
  EXPECT_TRUE(right(asks("12"), "5+7=12</think>12", true));
  EXPECT_FALSE(right(asks("12"), "12</think>13", true));
  EXPECT_FALSE(right(asks("12"), "12", true));  // never came to the answer
}

TEST(ScoreTest, NumbersCountAsNumbers) {
  const Question question = asks("1204", Match::number);
  EXPECT_TRUE(right(question, "First 7, then $1,204.00."));
  EXPECT_TRUE(right(question, "\\boxed{1204}"));
  EXPECT_FALSE(right(question, "1204 or 1205"));
  EXPECT_FALSE(right(question, "None."));
  EXPECT_TRUE(right(asks("33", Match::number), "033"));
  EXPECT_FALSE(right(asks("33", Match::number), "-33"));
}

TEST(ScoreTest, TheLastNumberIsFound) {
  EXPECT_EQ(last_number("3 of 1,234.5 dollars."), "1234.5");
  EXPECT_EQ(last_number("a-7"), "-7");
  EXPECT_EQ(last_number("In 1,2 and 3."), "3");
  EXPECT_EQ(last_number("none"), "");
}

constexpr char kCall[] =
    "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"calculator\">\n"
    "<｜DSML｜parameter name=\"expression\" string=\"true\">1 + 2</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

TEST(ScoreTest, ACallHasToBeWellFormedAndTheSame) {
  Question question = asks("");
  question.call = text::ToolCall{.name = "calculator", .arguments = R"({"expression":"1 + 2"})"};
  EXPECT_TRUE(right(question, kCall));
  EXPECT_TRUE(right(question, std::string("I need it.</think>") + kCall, true));
  EXPECT_FALSE(right(question, "3"));
  EXPECT_FALSE(right(question, std::string(kCall).substr(2, 150)));
  EXPECT_FALSE(right(asks("3"), std::string("3") + kCall));  // one that nobody wanted
  question.call->arguments = R"({"expression":"1 + 3"})";
  EXPECT_FALSE(right(question, kCall));
  question.call = text::ToolCall{.name = "search", .arguments = R"({"expression":"1 + 2"})"};
  EXPECT_FALSE(right(question, kCall));
}

TEST(ScoreTest, WilsonIntervals) {
  // Published values: 10 of 10 gives 72.2 % to 100 %, 81 of 263 25.5 % to 36.6 %.
  const Share all{.right = 10, .cases = 10}, some{.right = 81, .cases = 263}, none{};
  EXPECT_NEAR(all.low(), 0.7225, 1e-4);
  EXPECT_DOUBLE_EQ(all.high(), 1);
  EXPECT_NEAR(some.low(), 0.2553, 2e-4);
  EXPECT_NEAR(some.high(), 0.3662, 2e-4);
  EXPECT_EQ(none.low(), 0);
  EXPECT_EQ(none.high(), 1);
}

TEST(ScoreTest, TheChanceOfALoss) {
  EXPECT_NEAR(chance_of_loss(0, 0), 1, 1e-12);
  EXPECT_NEAR(chance_of_loss(5, 0), 1.0 / 32, 1e-12);
  EXPECT_NEAR(chance_of_loss(9, 1), 11.0 / 1024, 1e-12);
  EXPECT_GT(chance_of_loss(3, 9), 0.9);
  EXPECT_LT(chance_of_loss(300, 150), 1e-11);
}

}  // namespace
}  // namespace tessera::engine
