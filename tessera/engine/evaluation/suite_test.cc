// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/evaluation/suite.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tessera/base/testing/reference_data.h"

namespace tessera::engine {
namespace {

Question only(std::string_view line) {
  auto suite = parse_suite(line, "file");
  EXPECT_TRUE(suite.ok()) << (suite.ok() ? "" : suite.error().message);
  return suite.ok() ? suite->at(0) : Question{};
}

TEST(SuiteTest, OwnLinesHaveTasks) {
  const Question question = only(R"({"task": "add", "problem": "1 + 2?", "answer": "3"})");
  EXPECT_EQ(question.task, "add");
  EXPECT_EQ(question.answer, "3");
  EXPECT_EQ(question.match, Match::text);
  ASSERT_EQ(question.messages.size(), 1u);
  EXPECT_EQ(question.messages[0].content, "1 + 2?");
}

TEST(SuiteTest, CallsComeWithTools) {
  const Question question =
      only(R"({"task": "tool", "problem": "1 + 2?", "tools": [{"type": "function", "function": )"
           R"({"name": "calculator", "description": "", "parameters": {}}}], )"
           R"("call": {"name": "calculator", "arguments": {"expression": "1 + 2"}}})");
  ASSERT_TRUE(question.call);
  EXPECT_EQ(question.call->name, "calculator");
  EXPECT_EQ(question.call->arguments, R"({"expression":"1 + 2"})");
  ASSERT_EQ(question.messages.size(), 2u);
  EXPECT_EQ(question.messages[0].tools[0].name, "calculator");
}

TEST(SuiteTest, PublishedFormsAreMatchedByNumber) {
  const Question grade_school =
      only(R"({"question": "How many?", "answer": "2/2=<<2/2=1>>1\n#### 1,018"})");
  EXPECT_EQ(grade_school.task, "file");
  EXPECT_EQ(grade_school.match, Match::number);
  EXPECT_EQ(grade_school.answer, "1,018");
  const Question contest = only(R"({"id": 60, "problem": "Find it.", "answer": 204})");
  EXPECT_EQ(contest.match, Match::number);
  EXPECT_EQ(contest.answer, "204");
  EXPECT_EQ(only(R"({"problem": "Find it.", "answer": "blue"})").match, Match::text);
}

TEST(SuiteTest, LongTextsShareSentences) {
  const Question question = only(R"({"sentences": ["A.", "B.", "C."]}
{"task": "recall", "text": [[1, 2], "Key.", [0, 1]], "problem": "Which?", "answer": "x"})");
  ASSERT_EQ(question.messages.size(), 1u);
  EXPECT_EQ(question.messages[0].content, " B. C. Key. A.\n\nWhich?");
}

TEST(SuiteTest, SeveralQuestionsOfOneText) {
  const auto suite = parse_suite(
      R"({"task": "recall", "text": ["A."], "questions": [["Which?", "x"], ["Who?", "y"]]})", "");
  ASSERT_TRUE(suite.ok()) << suite.error().message;
  ASSERT_EQ(suite->size(), 2u);
  EXPECT_EQ(suite->at(0).messages[0].content, " A.\n\nWhich?");
  EXPECT_EQ(suite->at(1).messages[0].content, " A.\n\nWho?");
  EXPECT_EQ(suite->at(1).answer, "y");
}

TEST(SuiteTest, TheFirstOfEachTask) {
  std::string lines;
  for (const char* task : {"a", "b", "a", "a", "b", "c"})
    lines += std::string("{\"task\": \"") + task + "\", \"problem\": \"p\", \"answer\": \"1\"}\n\n";
  const auto all = parse_suite(lines, "file").value();
  EXPECT_EQ(all.size(), 6u);
  std::string tasks;
  for (const Question& question : first_of_each_task(all, 1)) tasks += question.task;
  EXPECT_EQ(tasks, "abc");
  EXPECT_EQ(first_of_each_task(all, 2).size(), 5u);
}

TEST(SuiteTest, MistakesAreNamedByLine) {
  const auto message = [](std::string_view lines) {
    return parse_suite(lines, "file").error().message;
  };
  EXPECT_EQ(message("\n"), "there are no questions");
  EXPECT_EQ(message("\n{\"problem\": \"a\""), "line 2 is no JSON object");
  EXPECT_EQ(message("{\"answer\": \"a\"}"), "line 1: \"problem\" is missing");
  EXPECT_EQ(message("{\"problem\": \"a\"}"), "line 1: \"answer\" is missing");
  EXPECT_EQ(message("{\"problem\": \"a\", \"answer\": [1]}"),
            "line 1: \"answer\" is neither text nor a number");
  EXPECT_EQ(message("{\"problem\": \"a\", \"call\": 1}"),
            "line 1: \"call\" is no object with \"name\" and \"arguments\"");
  EXPECT_EQ(message("{\"sentences\": [1]}"), "line 1: \"sentences\" is no list of texts");
  EXPECT_EQ(message("{\"problem\": \"a\", \"text\": \"b\"}"), "line 1: \"text\" is no list");
  for (const char* part : {"[0,2]", "[2,0]", "[-1,1]", "[0]", "1"})
    EXPECT_EQ(message(std::string(R"({"sentences": ["A."]})") +
                      "\n{\"problem\": \"a\", \"text\": [" + part + "]}"),
              std::string("line 2: ") + part +
                  " in \"text\" is neither a sentence nor [first, count] within the 1 "
                  "\"sentences\" before");
}

TEST(SuiteTest, PublishedFilesAreRead) {
  TESSERA_SKIP_WITHOUT_REFERENCE("eval/gsm8k_test.jsonl");
  for (const auto& [file, count] : {std::pair{"gsm8k_test.jsonl", 1319}, {"aime24.jsonl", 30}}) {
    std::ifstream stream(reference_folder() / "eval" / file);
    const std::string lines{std::istreambuf_iterator<char>(stream), {}};
    const auto suite = parse_suite(lines, file);
    ASSERT_TRUE(suite.ok()) << suite.error().message;
    EXPECT_EQ(std::ssize(*suite), count);
    for (const Question& question : *suite) EXPECT_EQ(question.match, Match::number);
  }
}

}  // namespace
}  // namespace tessera::engine
