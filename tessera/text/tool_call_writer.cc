// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/tool_call_writer.h"

#include "tessera/text/chat_texts.h"
#include "tessera/text/json_value.h"

namespace tessera::text {
namespace {

void write_parameter(std::string_view name, bool is_text, std::string_view value,
                     PromptWriter& writer) {
  writer.control(kParameterOpen);
  writer.control(" name=\"");
  writer.literal(name);
  writer.control(is_text ? "\" string=\"true\">" : "\" string=\"false\">");
  writer.literal(value);
  writer.control(kParameterClose);
}

void write_parameters(const ToolCall& call, PromptWriter& writer) {
  const Result<JsonValue> arguments = JsonValue::parse(call.arguments);
  if (!arguments.ok() || !arguments->is(JsonValue::Kind::object)) {
    write_parameter("arguments", true, call.arguments, writer);
    return;
  }
  bool first = true;
  for (const auto& [name, value] : arguments->members) {
    if (!first) writer.control("\n");
    first = false;
    const bool is_text = value.is(JsonValue::Kind::string);
    write_parameter(name, is_text, is_text ? value.text : value.dump(), writer);
  }
}

}  // namespace

void write_tool_calls(std::span<const ToolCall> calls, PromptWriter& writer) {
  writer.control("\n\n");
  writer.control(kToolCallsOpen);
  for (const ToolCall& call : calls) {
    writer.control("\n");
    writer.control(kInvokeOpen);
    writer.control(" name=\"");
    writer.literal(call.name);
    writer.control("\">\n");
    write_parameters(call, writer);
    writer.control("\n");
    writer.control(kInvokeClose);
  }
  writer.control("\n");
  writer.control(kToolCallsClose);
}

}  // namespace tessera::text
