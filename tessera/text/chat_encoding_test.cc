// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/chat_encoding.h"

#include <gtest/gtest.h>

#include "tessera/text/message_json.h"

namespace tessera::text {
namespace {

std::string render_error(const std::vector<Message>& messages, const ChatOptions& options = {}) {
  const auto prompt = render_prompt(messages, options);
  return prompt.ok() ? "" : prompt.error().message;
}

std::string render(std::string_view json, const ChatOptions& options = {}) {
  return render_prompt(parse_messages(json).value(), options).value().text;
}

TEST(ChatEncodingTest, Errors) {
  EXPECT_EQ(render_error({{.role = Role::system}, {.role = Role::developer}}),
            "messages[1]: a developer message needs content");
  EXPECT_EQ(render_error({{.role = Role::user, .parts = {{}}, .has_parts = true}}),
            "messages[0]: the content of a user message must be text, not a list of parts");
  EXPECT_EQ(render_error({}, {.effort = ReasoningEffort::low}),
            "reasoning effort \"low\" is not known to this model, expected high or max");
  EXPECT_EQ(render_error({}, {.version = ChatVersion::v4_0731, .effort = ReasoningEffort::low}),
            "");
}

TEST(ChatEncodingTest, ContentOfMessagesIsLiteral) {
  const std::vector<Message> messages = {{.role = Role::system, .content = "S"},
                                         {.role = Role::user, .content = "a<｜User｜>"}};
  const auto prompt = render_prompt(messages).value();
  EXPECT_EQ(prompt.text, "<｜begin▁of▁sentence｜>S<｜User｜>a<｜User｜><｜Assistant｜><think>");
  std::vector<std::string> literal;
  for (const TextRange& range : prompt.literal)
    literal.push_back(prompt.text.substr(range.begin, range.end - range.begin));
  EXPECT_EQ(literal, (std::vector<std::string>{"S", "a<｜User｜>"}));
  EXPECT_TRUE(render_prompt(messages, {.control_tokens_in_content = true}).value().literal.empty());
}

TEST(ChatEncodingTest, InvalidUtf8InMessagesIsReplaced) {
  const std::vector<Message> messages = {{.role = Role::user, .content = "a\xFF"}};
  EXPECT_EQ(render_prompt(messages, {.mode = ThinkingMode::chat}).value().text,
            "<｜begin▁of▁sentence｜><｜User｜>a\uFFFD<｜Assistant｜></think>");
}

TEST(ChatEncodingTest, SaysWhetherTheAnswerStartsInReasoning) {
  const auto starts = [](std::string_view json, ThinkingMode mode) {
    return render_prompt(parse_messages(json).value(), {.mode = mode}).value().starts_in_reasoning;
  };
  const std::string_view user = R"([{"role": "user", "content": "Q"}])";
  EXPECT_TRUE(starts(user, ThinkingMode::thinking));
  EXPECT_FALSE(starts(user, ThinkingMode::chat));
  EXPECT_FALSE(starts(R"([{"role": "user", "content": "Q"},
                          {"role": "assistant", "content": "A", "prefix": true}])",
                      ThinkingMode::thinking));
  EXPECT_FALSE(
      starts(R"([{"role": "user", "content": "Q", "task": "action"}])", ThinkingMode::thinking));
}

TEST(ChatEncodingTest, PartsOfContent) {
  const std::string_view json = R"([{"role": "user", "content": [
      {"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]}])";
  EXPECT_EQ(
      render(json, {.mode = ThinkingMode::chat, .parts_from_all_roles = true}),
      "<｜begin▁of▁sentence｜><｜User｜>a\n\n[Unsupported image_url]\n\nb<｜Assistant｜></think>");
  const std::string_view tool = R"([{"role": "tool", "tool_call_id": "1",
      "content": [{"type": "text", "text": "a"}, {"type": "x"}]}])";
  EXPECT_EQ(render(tool, {.mode = ThinkingMode::chat}),
            "<｜begin▁of▁sentence｜><｜User｜><tool_result>a\n\n[Unsupported x]</tool_result>"
            "<｜Assistant｜></think>");
}

TEST(ChatEncodingTest, BadArgumentsBecomeOneParameter) {
  const auto call = [](std::string arguments) {
    const std::vector<Message> messages = {
        {.role = Role::assistant, .tool_calls = {{.id = "", .name = "f", .arguments = arguments}}}};
    return render_prompt(messages, {.mode = ThinkingMode::chat, .begin_of_sentence = false})
        .value()
        .text;
  };
  const auto expected = [](std::string parameter) {
    return "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n" + parameter +
           "\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>";
  };
  const auto raw = [](std::string value) {
    return "<｜DSML｜parameter name=\"arguments\" string=\"true\">" + value +
           "</｜DSML｜parameter>";
  };
  EXPECT_EQ(call("{\"a\": "), expected(raw("{\"a\": ")));
  EXPECT_EQ(call("[1]"), expected(raw("[1]")));
  EXPECT_EQ(call("{}"), expected(""));
}

TEST(ChatEncodingTest, ResultsFollowTheOrderOfCalls) {
  const std::string_view json = R"([
      {"role": "assistant", "tool_calls": [
          {"id": "1", "function": {"name": "f", "arguments": "{}"}},
          {"id": "2", "function": {"name": "f", "arguments": {}}}]},
      {"role": "tool", "tool_call_id": "2", "content": "two"},
      {"role": "user", "content": "text"},
      {"role": "tool", "tool_call_id": "1", "content": "one"}])";
  EXPECT_NE(render(json).find("<｜User｜><tool_result>one</tool_result>\n\ntext\n\n"
                              "<tool_result>two</tool_result><｜Assistant｜>"),
            std::string::npos);
}

TEST(ChatEncodingTest, EmptyConversation) {
  EXPECT_EQ(render("[]"), "<｜begin▁of▁sentence｜>");
  EXPECT_EQ(render("[]", {.begin_of_sentence = false}), "");
}

TEST(ChatEncodingTest, Names) {
  EXPECT_EQ(find_thinking_mode("thinking"), ThinkingMode::thinking);
  EXPECT_EQ(find_thinking_mode("Thinking"), std::nullopt);
  EXPECT_EQ(find_reasoning_effort("max"), ReasoningEffort::max);
  EXPECT_EQ(find_reasoning_effort("medium"), std::nullopt);
}

}  // namespace
}  // namespace tessera::text
