// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/answer_printer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tessera/text/chat_texts.h"

namespace tessera::cli {
namespace {

bool on_terminal() { return ::isatty(STDOUT_FILENO) != 0; }

nlohmann::ordered_json call_json(const text::ToolCall& call) {
  return {{"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

}  // namespace

void AnswerPrinter::part(const text::Completion& part) {
  if (quiet_) return;
  if (!part.reasoning_content.empty()) {
    if (!reasoning_) text(on_terminal() ? "\x1b[2m<think>" : "<think>");
    reasoning_ = true;
    text(part.reasoning_content);
  }
  if (!part.content.empty()) {
    end_reasoning();
    text(part.content);
  }
  for (const text::ToolCall& call : part.tool_calls) {
    end_reasoning();
    text(fmt::format("{}{}\n", at_line_start_ ? "" : "\n", call_json(call).dump()));
  }
}

void AnswerPrinter::text(std::string_view text) {
  if (quiet_ || text.empty()) return;
  fmt::print("{}", text);
  std::fflush(stdout);
  at_line_start_ = text.back() == '\n';
}

void AnswerPrinter::end_reasoning() {
  if (!reasoning_) return;
  reasoning_ = false;
  text(on_terminal() ? "</think>\x1b[0m\n\n" : "</think>\n\n");
}

void AnswerPrinter::finish() {
  if (reasoning_) text(on_terminal() ? "\x1b[0m" : "");
  reasoning_ = false;
  if (!at_line_start_) text("\n");
}

nlohmann::ordered_json calls_json(std::span<const text::ToolCall> calls) {
  auto json = nlohmann::ordered_json::array();
  for (const text::ToolCall& call : calls) json.push_back(call_json(call));
  return json;
}

nlohmann::ordered_json message_json(const text::Completion& completion) {
  return {{"role", "assistant"},
          {"content", completion.content},
          {"reasoning_content", completion.reasoning_content},
          {"tool_calls", calls_json(completion.tool_calls)}};
}

nlohmann::ordered_json answer_json(const engine::Answer& answer) {
  const engine::GenerationStats& stats = answer.stats;
  nlohmann::ordered_json json = {{"ids", answer.ids}, {"finish", name(answer.finish)}};
  if (!answer.stop_text.empty()) json["stop"] = answer.stop_text;
  json["stats"] = {
      {"prompt_tokens", stats.prompt_tokens},       {"reused_tokens", stats.reused_tokens},
      {"generated_tokens", stats.generated_tokens}, {"drafted_tokens", stats.drafted_tokens},
      {"accepted_tokens", stats.accepted_tokens},   {"prefill_seconds", stats.prefill_seconds},
      {"decode_seconds", stats.decode_seconds}};
  return json;
}

}  // namespace tessera::cli
