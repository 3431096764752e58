// SPDX-License-Identifier: Apache-2.0
// A conversation as the chat encoding takes it. Text is UTF-8; JSON is kept as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera::text {

enum class Role { system, developer, user, assistant, tool, latest_reminder };

/// Internal jobs of the model (search, titles) that a message can ask for instead of an answer.
enum class Task { query, authority, domain, title, read_url, action };

std::string_view name(Role role);
std::string_view name(Task task);
std::optional<Role> find_role(std::string_view name);
std::optional<Task> find_task(std::string_view name);

/// A part of a content that is a list: text, or something the model cannot take, named by its type.
struct ContentPart {
  std::string type = "text";
  std::string text = {};
};

struct ToolCall {
  std::string id = {};  // empty: none
  std::string name = {};
  std::string arguments = {};  // JSON object as text; whatever else is shown to the model as it is
};

/// A tool that the model may call.
struct Tool {
  std::string name = {};
  std::string function = {};  // JSON: {"name": ..., "description": ..., "parameters": ...}
};

struct Message {
  Role role = Role::user;
  std::string content = {};
  std::vector<ContentPart> parts = {};  // instead of content, when has_parts
  bool has_parts = false;
  std::string reasoning_content = {};     // assistant
  std::vector<ToolCall> tool_calls = {};  // assistant
  std::string tool_call_id = {};          // tool
  std::vector<Tool> tools = {};           // system, developer
  std::string response_format = {};       // system, developer: JSON as text; empty: none
  std::optional<Task> task = {};          // user, developer, assistant
  bool without_eos = false;               // assistant: the answer goes on from here (prefix)
};

}  // namespace tessera::text
