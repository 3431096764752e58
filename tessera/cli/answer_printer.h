// SPDX-License-Identifier: Apache-2.0
// Shows an answer while it arrives.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "tessera/engine/conversation.h"

namespace tessera::cli {

/// To standard output: reasoning between <think> and </think> (dim on a terminal), then the
/// content; tool calls as lines of JSON.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(bool quiet) : quiet_(quiet) {}

  void part(const text::Completion& part);
  void text(std::string_view text);
  /// Ends the last line.
  void finish();

 private:
  void end_reasoning();

  bool quiet_;
  bool reasoning_ = false;
  bool at_line_start_ = true;
};

/// [{"type", "function": {"name", "arguments"}}]
nlohmann::ordered_json calls_json(std::span<const text::ToolCall> calls);

/// {"role", "content", "reasoning_content", "tool_calls"}
nlohmann::ordered_json message_json(const text::Completion& completion);

/// {"ids", "finish", "stats"}, and "stop" when a stop text ended it.
nlohmann::ordered_json answer_json(const engine::Answer& answer);

}  // namespace tessera::cli
