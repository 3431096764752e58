// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/message_json.h"

#include <gtest/gtest.h>

namespace tessera::text {
namespace {

std::string parse_error(std::string_view json) {
  const auto messages = parse_messages(json);
  if (messages.ok()) return "";
  EXPECT_EQ(messages.error().code, ErrorCode::invalid_argument);
  return messages.error().message;
}

TEST(MessageJsonTest, RolesAndTasks) {
  EXPECT_EQ(parse_error(R"([{"role": "narrator"}])"),
            "messages[0].role: unknown role \"narrator\", expected system, developer, user, "
            "assistant, tool or latest_reminder");
  EXPECT_EQ(parse_error(R"([{"role": "user"}, {"content": "x"}])"), "messages[1].role is missing");
  EXPECT_EQ(parse_error(R"([{"role": 1}])"), "messages[0].role must be text, not a number");
  EXPECT_EQ(parse_error(R"([{"role": "user", "task": "bogus"}])"),
            "messages[0].task: unknown task \"bogus\", expected query, authority, domain, title, "
            "read_url or action");
}

TEST(MessageJsonTest, Shapes) {
  EXPECT_EQ(parse_error("[{"), "not valid JSON at byte 3");
  EXPECT_EQ(parse_error("{}"), "\"messages\" is missing");
  EXPECT_EQ(parse_error("1"), "messages must be a list, not a number");
  EXPECT_EQ(parse_error(R"({"messages": {}})"), "messages must be a list, not an object");
  EXPECT_EQ(parse_error("[1]"), "messages[0] must be an object, not a number");
  EXPECT_EQ(parse_error(R"([{"role": "user", "content": 1}])"),
            "messages[0].content must be text, a list of parts or null, not a number");
  EXPECT_EQ(parse_error(R"([{"role": "user", "content": ["x"]}])"),
            "messages[0].content[0] must be an object, not text");
  EXPECT_EQ(parse_error(R"([{"role": "user", "content": [{"text": "x"}]}])"),
            "messages[0].content[0].type is missing");
  EXPECT_EQ(parse_error(R"([{"role": "assistant", "prefix": "yes"}])"),
            "messages[0].prefix must be true or false, not text");
}

TEST(MessageJsonTest, Tools) {
  EXPECT_EQ(parse_error(R"({"messages": [], "tools": {}})"), "tools must be a list, not an object");
  EXPECT_EQ(parse_error(R"({"messages": [], "tools": [{"name": "f"}]})"),
            "tools[0] has no object \"function\"");
  EXPECT_EQ(parse_error(R"({"messages": [], "tools": [{"function": {}}]})"),
            "tools[0].function.name is missing");
  EXPECT_EQ(parse_error(R"([{"role": "system", "tools": [3]}])"),
            "messages[0].tools[0] has no object \"function\"");
  EXPECT_EQ(parse_error(R"({"messages": [], "response_format": "json"})"),
            "response_format must be an object, not text");
}

TEST(MessageJsonTest, ToolCalls) {
  const auto with = [](std::string_view calls) {
    return parse_error("[{\"role\": \"assistant\", \"tool_calls\": " + std::string(calls) + "}]");
  };
  EXPECT_EQ(with("1"), "messages[0].tool_calls must be a list, not a number");
  EXPECT_EQ(with("[{}]"), "messages[0].tool_calls[0] has no object \"function\"");
  EXPECT_EQ(with(R"([{"function": {"arguments": "{}"}}])"),
            "messages[0].tool_calls[0].function.name is missing");
  EXPECT_EQ(with(R"([{"function": {"name": "f"}}])"),
            "messages[0].tool_calls[0].function.arguments is missing");
  EXPECT_EQ(with(R"([{"function": {"name": "f", "arguments": 1}}])"),
            "messages[0].tool_calls[0].function.arguments must be text or an object, not a number");
  EXPECT_EQ(with(R"([{"id": 5, "function": {"name": "f", "arguments": ""}}])"),
            "messages[0].tool_calls[0].id must be text, not a number");
}

TEST(MessageJsonTest, ToolsOfTheRequestGoToTheFirstMessage) {
  const std::string tools = R"("tools": [{"type": "function", "function": {"name":"f","x":1.0}}])";
  const auto with_system =
      parse_messages(R"({"messages": [{"role": "system", "content": "S"}], )" + tools + "}")
          .value();
  ASSERT_EQ(with_system.size(), 1u);
  EXPECT_EQ(with_system[0].tools[0].name, "f");
  EXPECT_EQ(with_system[0].tools[0].function, "{\"name\": \"f\", \"x\": 1.0}");
  const auto without =
      parse_messages(R"({"messages": [{"role": "user", "content": "Q"}], )" + tools + "}").value();
  ASSERT_EQ(without.size(), 2u);
  EXPECT_EQ(without[0].role, Role::system);
  EXPECT_EQ(without[0].tools.size(), 1u);
  EXPECT_EQ(parse_messages(R"({"messages": [{"role": "user"}], "tools": []})")->size(), 1u);
}

}  // namespace
}  // namespace tessera::text
