// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/message_json.h"

#include <fmt/core.h>

#include "tessera/text/json_value.h"

namespace tessera::text {
namespace {

using Kind = JsonValue::Kind;

Error wrong_kind(const std::string& where, std::string_view expected, const JsonValue& value) {
  return invalid_argument(
      fmt::format("{} must be {}, not {}", where, expected, describe(value.kind)));
}

/// Sets `text` when the field is there and not null.
Result<> read_text(const JsonValue& object, std::string_view key, const std::string& where,
                   std::string& text) {
  const JsonValue* value = object.find(key);
  if (value == nullptr) return {};
  if (!value->is(Kind::string))
    return wrong_kind(fmt::format("{}.{}", where, key), describe(Kind::string), *value);
  text = value->text;
  return {};
}

Result<> read_content(const JsonValue& object, const std::string& where, Message& message) {
  const JsonValue* content = object.find("content");
  if (content == nullptr || content->is(Kind::string)) {
    if (content != nullptr) message.content = content->text;
    return {};
  }
  if (!content->is(Kind::array))
    return wrong_kind(where + ".content", "text, a list of parts or null", *content);
  message.has_parts = true;
  for (const auto& [key, value] : content->members) {
    const std::string place = fmt::format("{}.content[{}]", where, message.parts.size());
    if (!value.is(Kind::object)) return wrong_kind(place, describe(Kind::object), value);
    ContentPart part{.type = {}, .text = {}};
    TESSERA_TRY(read_text(value, "type", place, part.type));
    if (part.type.empty()) return invalid_argument(place + ".type is missing");
    if (part.type == "text") TESSERA_TRY(read_text(value, "text", place, part.text));
    message.parts.push_back(std::move(part));
  }
  return {};
}

Result<> read_tool_calls(const JsonValue& object, const std::string& where, Message& message) {
  const JsonValue* calls = object.find("tool_calls");
  if (calls == nullptr) return {};
  if (!calls->is(Kind::array))
    return wrong_kind(where + ".tool_calls", describe(Kind::array), *calls);
  for (const auto& [key, value] : calls->members) {
    const std::string place = fmt::format("{}.tool_calls[{}]", where, message.tool_calls.size());
    const JsonValue* function = value.find("function");
    if (function == nullptr || !function->is(Kind::object))
      return invalid_argument(place + " has no object \"function\"");
    ToolCall call;
    TESSERA_TRY(read_text(value, "id", place, call.id));
    TESSERA_TRY(read_text(*function, "name", place + ".function", call.name));
    if (call.name.empty()) return invalid_argument(place + ".function.name is missing");
    const JsonValue* arguments = function->find("arguments");
    if (arguments == nullptr) return invalid_argument(place + ".function.arguments is missing");
    if (!arguments->is(Kind::string) && !arguments->is(Kind::object))
      return wrong_kind(place + ".function.arguments", "text or an object", *arguments);
    call.arguments = arguments->is(Kind::string) ? arguments->text : arguments->dump();
    message.tool_calls.push_back(std::move(call));
  }
  return {};
}

Result<> read_tools(const JsonValue& object, const std::string& where, std::vector<Tool>& tools) {
  const JsonValue* list = object.find("tools");
  if (list == nullptr) return {};
  if (!list->is(Kind::array)) return wrong_kind(where + "tools", describe(Kind::array), *list);
  for (const auto& [key, value] : list->members) {
    const std::string place = fmt::format("{}tools[{}]", where, tools.size());
    const JsonValue* function = value.find("function");
    if (function == nullptr || !function->is(Kind::object))
      return invalid_argument(place + " has no object \"function\"");
    Tool tool;
    TESSERA_TRY(read_text(*function, "name", place + ".function", tool.name));
    if (tool.name.empty()) return invalid_argument(place + ".function.name is missing");
    tool.function = function->dump();
    tools.push_back(std::move(tool));
  }
  return {};
}

Result<> read_response_format(const JsonValue& object, const std::string& where,
                              std::string& response_format) {
  const JsonValue* format = object.find("response_format");
  if (format == nullptr) return {};
  if (!format->is(Kind::object))
    return wrong_kind(where + "response_format", describe(Kind::object), *format);
  response_format = format->dump();
  return {};
}

Result<> read_flag(const JsonValue& object, std::string_view key, const std::string& where,
                   bool& flag) {
  const JsonValue* value = object.find(key);
  if (value == nullptr) return {};
  if (!value->is(Kind::boolean))
    return wrong_kind(fmt::format("{}.{}", where, key), describe(Kind::boolean), *value);
  flag = flag || value->boolean;
  return {};
}

Result<Message> read_message(const JsonValue& object, const std::string& where) {
  if (!object.is(Kind::object)) return wrong_kind(where, describe(Kind::object), object);
  Message message;
  std::string role, task;
  TESSERA_TRY(read_text(object, "role", where, role));
  if (role.empty()) return invalid_argument(where + ".role is missing");
  const std::optional<Role> known_role = find_role(role);
  if (!known_role)
    return invalid_argument(
        fmt::format("{}.role: unknown role \"{}\", expected system, developer, "
                    "user, assistant, tool or latest_reminder",
                    where, role));
  message.role = *known_role;
  TESSERA_TRY(read_text(object, "task", where, task));
  if (!task.empty()) {
    message.task = find_task(task);
    if (!message.task)
      return invalid_argument(
          fmt::format("{}.task: unknown task \"{}\", expected query, authority, "
                      "domain, title, read_url or action",
                      where, task));
  }
  TESSERA_TRY(read_content(object, where, message));
  TESSERA_TRY(read_text(object, "reasoning_content", where, message.reasoning_content));
  TESSERA_TRY(read_text(object, "tool_call_id", where, message.tool_call_id));
  TESSERA_TRY(read_tool_calls(object, where, message));
  TESSERA_TRY(read_tools(object, where + ".", message.tools));
  TESSERA_TRY(read_response_format(object, where + ".", message.response_format));
  TESSERA_TRY(read_flag(object, "wo_eos", where, message.without_eos));
  TESSERA_TRY(read_flag(object, "prefix", where, message.without_eos));
  return message;
}

/// The tools and the response format of the whole request.
Result<> read_request(const JsonValue& request, std::vector<Message>& messages) {
  Message extra{.role = Role::system};
  TESSERA_TRY(read_tools(request, "", extra.tools));
  TESSERA_TRY(read_response_format(request, "", extra.response_format));
  if (extra.tools.empty() && extra.response_format.empty()) return {};
  const bool takes_tools = !messages.empty() && (messages[0].role == Role::system ||
                                                 messages[0].role == Role::developer);
  if (!takes_tools) messages.insert(messages.begin(), Message{.role = Role::system});
  if (!extra.tools.empty()) messages[0].tools = std::move(extra.tools);
  if (!extra.response_format.empty())
    messages[0].response_format = std::move(extra.response_format);
  return {};
}

}  // namespace

Result<std::vector<Message>> parse_messages(std::string_view json) {
  TESSERA_ASSIGN(const JsonValue root, JsonValue::parse(json));
  const JsonValue* list = root.is(Kind::object) ? root.find("messages") : &root;
  if (list == nullptr) return invalid_argument("\"messages\" is missing");
  if (!list->is(Kind::array)) return wrong_kind("messages", describe(Kind::array), *list);
  std::vector<Message> messages;
  for (const auto& [key, value] : list->members) {
    TESSERA_ASSIGN(Message message,
                   read_message(value, fmt::format("messages[{}]", messages.size())));
    messages.push_back(std::move(message));
  }
  TESSERA_TRY(read_request(root, messages));
  return messages;
}

}  // namespace tessera::text
