// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/completion_parser.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <random>

namespace tessera::text {
namespace {

const std::string kOpen = "<｜DSML｜tool_calls>";
const std::string kClose = "</｜DSML｜tool_calls>";
const std::string kEnd = "<｜end▁of▁sentence｜>";

std::string invoke(std::string_view name = "f", std::string_view value = "1") {
  return fmt::format(
      "<｜DSML｜invoke name=\"{}\">\n<｜DSML｜parameter name=\"a\" "
      "string=\"false\">{}</｜DSML｜parameter>\n</｜DSML｜invoke>",
      name, value);
}

/// One line for everything: "reasoning|content|f{...}g{...}".
std::string summary(const Completion& completion) {
  std::string text = completion.reasoning_content + "|" + completion.content + "|";
  for (const ToolCall& call : completion.tool_calls) text += call.name + call.arguments;
  return text;
}

void append(Completion& all, Completion part) {
  all.reasoning_content += part.reasoning_content;
  all.content += part.content;
  for (ToolCall& call : part.tool_calls) all.tool_calls.push_back(std::move(call));
}

/// Parses at once and in random cuts, which must agree.
std::string parse(const std::string& text, const CompletionOptions& options = {}) {
  const std::string at_once = summary(parse_completion(text, options));
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    CompletionParser parser(options);
    Completion all;
    for (size_t i = 0; i < text.size();) {
      const size_t length = round == 0 ? 1 : 1 + random() % 30;
      append(all, parser.push(std::string_view(text).substr(i, length)));
      i += length;
    }
    append(all, parser.finish());
    EXPECT_EQ(summary(all), at_once);
  }
  return at_once;
}

const CompletionOptions kThinking = {.starts_in_reasoning = true};
const CompletionOptions kOnlyG = {.tools = std::vector<std::string>{"g"}};

TEST(CompletionParserTest, WellFormed) {
  EXPECT_EQ(parse(""), "||");
  EXPECT_EQ(parse("Hello" + kEnd), "|Hello|");
  EXPECT_EQ(parse("R</think>A" + kEnd, kThinking), "R|A|");
  EXPECT_EQ(parse("A\n\n" + kOpen + "\n" + invoke() + "\n" + kClose + kEnd), "|A|f{\"a\": 1}");
  EXPECT_EQ(parse("R</think>\n\n" + kOpen + "\n" + invoke() + "\n" + invoke("g") + "\n" + kClose,
                  kThinking),
            "R||f{\"a\": 1}g{\"a\": 1}");
}

TEST(CompletionParserTest, MissingWrapper) {
  EXPECT_EQ(parse("A\n\n" + invoke() + "\n" + kEnd), "|A|f{\"a\": 1}");
  EXPECT_EQ(parse("A\n\n" + invoke() + "\n" + kClose), "|A|f{\"a\": 1}");
}

TEST(CompletionParserTest, MisspeltWrapper) {
  EXPECT_EQ(parse("A\n\n<｜DSML｜toolcalls>\n" + invoke() + "\n</｜DSML｜toolcalls>"),
            "|A|f{\"a\": 1}");
  EXPECT_EQ(parse("<｜DSML｜function_calls>" + invoke() + "</｜DSML｜function_calls>"),
            "||f{\"a\": 1}");
}

TEST(CompletionParserTest, EmptyBlockAndStrayTags) {
  EXPECT_EQ(parse("A\n\n" + kOpen + "\n" + kClose + kEnd), "|A|");
  EXPECT_EQ(parse("A</think>B" + kClose + "</｜DSML｜invoke>C</｜DSML｜parameter>"), "|ABC|");
}

TEST(CompletionParserTest, MissingBlankLines) {
  EXPECT_EQ(parse("Sure." + kOpen + invoke() + kClose), "|Sure.|f{\"a\": 1}");
  EXPECT_EQ(parse("Sure.\n\n\n" + kOpen + invoke() + kClose), "|Sure.\n|f{\"a\": 1}");
  EXPECT_EQ(parse("a\n\n\nb\n"), "|a\n\n\nb\n|");
}

TEST(CompletionParserTest, CutOff) {
  const std::string whole = "A\n\n" + kOpen + "\n" + invoke() + "\n" + kClose + kEnd;
  const size_t closed = whole.find("</｜DSML｜invoke>") + std::string("</｜DSML｜invoke>").size();
  for (size_t length = 0; length <= whole.size(); ++length) {
    const std::string text = whole.substr(0, length);
    const Completion completion = parse_completion(text);
    if (length < closed) {
      EXPECT_EQ(completion.content, text);
      EXPECT_TRUE(completion.tool_calls.empty());
    } else {
      EXPECT_EQ(completion.tool_calls.size(), 1u);
      EXPECT_TRUE(completion.content.starts_with("A")) << text;
    }
  }
}

TEST(CompletionParserTest, UnknownToolsStayText) {
  const std::string block = "\n\n" + kOpen + "\n" + invoke() + "\n" + kClose;
  EXPECT_EQ(parse("A" + block, kOnlyG), "|A" + block + "|");
  EXPECT_EQ(parse(kOpen + invoke("f") + invoke("g") + kClose, kOnlyG),
            "|" + kOpen + invoke("f") + kClose + "|g{\"a\": 1}");
}

TEST(CompletionParserTest, MalformedCallsStayText) {
  for (const std::string bad :
       {"<｜DSML｜invoke name=\"\">x", "<｜DSML｜invoked", "<｜DSML｜invoke name=\"f\">garbage",
        "<｜DSML｜invoke name=\"f\"><｜DSML｜parameter nam=\"a\">1</｜DSML｜x",
        "<｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"a\" string=\"true\">never closed"})
    EXPECT_EQ(parse("A " + bad), "|A " + bad + "|") << bad;
  const std::string twice =
      "<｜DSML｜invoke name=\"f\">"
      "<｜DSML｜parameter name=\"a\" string=\"true\">1</｜DSML｜parameter>"
      "<｜DSML｜parameter name=\"a\" string=\"true\">";
  EXPECT_EQ(parse(twice), "|" + twice + "|");
}

TEST(CompletionParserTest, ValuesOfParameters) {
  EXPECT_EQ(parse(invoke("f", "{\"k\": [1,2]}")), "||f{\"a\": {\"k\": [1,2]}}");
  EXPECT_EQ(parse(invoke("f", "not json")), "||f{\"a\": \"not json\"}");
  EXPECT_EQ(parse(invoke("f", "")), "||f{\"a\": \"\"}");
  const auto flagged = [](std::string attribute, std::string value) {
    return parse("<｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"a\"" + attribute + ">" +
                 value + "</｜DSML｜parameter></｜DSML｜invoke>");
  };
  EXPECT_EQ(flagged(" string=\"true\"", "1"), "||f{\"a\": \"1\"}");
  EXPECT_EQ(flagged(" string=\"yes\"", "1"), "||f{\"a\": 1}");
  EXPECT_EQ(flagged("", "x"), "||f{\"a\": \"x\"}");
  // A value may show the markup of a call.
  EXPECT_EQ(flagged(" string=\"true\"", "</｜DSML｜invoke>"), "||f{\"a\": \"</｜DSML｜invoke>\"}");
}

TEST(CompletionParserTest, Thinking) {
  EXPECT_EQ(parse("<think>R</think>A"), "R|A|");
  EXPECT_EQ(parse("<think>R</think>A", kThinking), "R|A|");
  EXPECT_EQ(parse("a <think> b"), "|a <think> b|");
  EXPECT_EQ(parse("never closed", kThinking), "never closed||");
  EXPECT_EQ(parse("R\n\n" + kOpen + invoke() + kClose, kThinking), "R||f{\"a\": 1}");
  EXPECT_EQ(parse("R" + invoke("f") + "</think>A", kOnlyG), "|R" + invoke("f") + "A|");
}

TEST(CompletionParserTest, NothingCountsAfterTheEnd) {
  EXPECT_EQ(parse("A" + kEnd + "B" + invoke()), "|A|");
  EXPECT_EQ(parse(kOpen + "<｜DSML｜invoke name=\"f\">" + kEnd + "</｜DSML｜invoke>"),
            "|" + kOpen + "<｜DSML｜invoke name=\"f\">|");
}

TEST(CompletionParserTest, GivesOutTextAtOnce) {
  CompletionParser parser(kThinking);
  EXPECT_EQ(parser.push("thin").reasoning_content, "thin");
  EXPECT_EQ(parser.push("king </").reasoning_content, "king ");
  EXPECT_EQ(parser.push("i>").reasoning_content, "</i>");
  EXPECT_TRUE(parser.in_reasoning());
  EXPECT_TRUE(parser.push("</thi").empty());
  EXPECT_EQ(parser.push("nk>Hel").content, "Hel");
  EXPECT_FALSE(parser.in_reasoning());
  EXPECT_EQ(parser.push("lo\n").content, "lo");
  EXPECT_EQ(parser.push("you").content, "\nyou");
  EXPECT_TRUE(parser.finish().empty());
}

TEST(CompletionParserTest, LongValuesInSmallPieces) {
  CompletionParser parser;
  const std::string text = invoke("f", "\"" + std::string(2'000'000, 'x') + "\"");
  Completion all;
  for (size_t i = 0; i < text.size(); i += 100)
    append(all, parser.push(std::string_view(text).substr(i, 100)));
  append(all, parser.finish());
  ASSERT_EQ(all.tool_calls.size(), 1u);
  EXPECT_EQ(all.tool_calls[0].arguments.size(), 2'000'000u + 9);
}

TEST(StrictCompletionTest, Errors) {
  const auto error = [](const std::string& text, const CompletionOptions& options = {}) {
    const auto completion = parse_completion_strictly(text, options);
    return completion.ok() ? "" : completion.error().message;
  };
  const std::string block = "\n\n" + kOpen + "\n";
  const std::string parameter = "<｜DSML｜parameter name=\"a\" string=";
  EXPECT_EQ(error("R", kThinking), "the reasoning has no end: </think> is missing");
  EXPECT_EQ(error("A"), "the end-of-sentence token is missing");
  EXPECT_EQ(error("A" + kEnd + "x"), "text after the end: \"x\"");
  EXPECT_EQ(error("A</think>" + kEnd), "control token </think> in the content");
  EXPECT_EQ(error("<think>R</think>" + kEnd, kThinking), "control token <think> in the reasoning");
  EXPECT_EQ(error(block + "x"), "expected \"<｜DSML｜invoke\" instead of \"x\"");
  EXPECT_EQ(error(block + "<｜DSML｜invoke name=\"f"), "no \"\\\">\\n\" after \"f\"");
  const std::string open = block + "<｜DSML｜invoke name=\"f\">\n";
  EXPECT_EQ(error(open + parameter + "\"yes\">1"),
            "parameter \"a\": string must be \"true\" or \"false\"");
  const std::string good = parameter + "\"true\">1</｜DSML｜parameter>\n";
  EXPECT_EQ(error(open + good + good), "parameter \"a\" comes twice");
}

}  // namespace
}  // namespace tessera::text
