// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/chat_encoding.h"

#include <fmt/core.h>

#include <algorithm>

#include "tessera/text/chat_texts.h"
#include "tessera/text/chat_turns.h"
#include "tessera/text/prompt_writer.h"
#include "tessera/text/tool_call_writer.h"

namespace tessera::text {
namespace {

/// What goes before the first message.
Result<std::string_view> effort_text(const ChatOptions& options) {
  if (!options.effort) return std::string_view();
  const bool is_0731 = options.version == ChatVersion::v4_0731;
  switch (*options.effort) {
    case ReasoningEffort::low:
      if (!is_0731)
        return invalid_argument(
            "reasoning effort \"low\" is not known to this model, expected high or max");
      return std::string_view();
    case ReasoningEffort::high: return is_0731 ? kHighEffortText : std::string_view();
    case ReasoningEffort::max: return is_0731 ? kMaxEffortText : kHighEffortText;
  }
  return std::string_view();
}

std::string join_parts(std::span<const ContentPart> parts) {
  std::string joined;
  for (const ContentPart& part : parts) {
    if (&part != parts.data()) joined += "\n\n";
    joined += part.type == "text" ? part.text : fmt::format("[Unsupported {}]", part.type);
  }
  return joined;
}

class Renderer {
 public:
  Renderer(std::vector<Turn> turns, const ChatOptions& options, bool dropping)
      : turns_(std::move(turns)),
        options_(options),
        thinking_(options.mode == ThinkingMode::thinking),
        dropping_(dropping),
        last_request_(last_request(turns_)) {}

  Result<RenderedPrompt> render(std::string_view effort) {
    if (options_.begin_of_sentence && options_.context.empty()) writer_.control(kBeginOfSentence);
    for (size_t i = 0; i < turns_.size(); ++i) {
      if (turns_[i].in_context) continue;
      if (i == 0 && thinking_) writer_.control(effort);
      TESSERA_TRY(write_turn(i));
      const bool is_last = i + 1 == turns_.size();
      if (is_last || turns_[i + 1].role == Role::assistant ||
          turns_[i + 1].role == Role::latest_reminder)
        write_transition(i);
    }
    RenderedPrompt prompt;
    prompt.text = std::move(writer_.text());
    if (!options_.control_tokens_in_content) prompt.literal = std::move(writer_.ranges());
    prompt.starts_in_reasoning = thinking_is_open_;
    return prompt;
  }

 private:
  Result<> write_turn(size_t i) {
    const Turn& turn = turns_[i];
    switch (turn.role) {
      case Role::system: return write_instructions(turn);
      case Role::developer: {
        const Message& message = *turn.message;
        if (message.content.empty() && message.parts.empty())
          return error(turn, "a developer message needs content");
        writer_.control(kUserToken);
        return write_instructions(turn);
      }
      case Role::latest_reminder:
        writer_.control(kLatestReminderToken);
        return write_content(turn, *turn.message);
      case Role::user: return write_user(turn);
      case Role::assistant: return write_assistant(i);
      case Role::tool: break;  // part of a user's turn
    }
    return internal_error("a turn of a tool");
  }

  Error error(const Turn& turn, std::string_view what) const {
    return invalid_argument(
        fmt::format("{}[{}]: {}", turn.in_context ? "context" : "messages", turn.index, what));
  }

  Result<> write_content(const Turn& turn, const Message& message) {
    if (!message.has_parts) {
      writer_.literal(message.content);
      return {};
    }
    if (message.role != Role::tool && !options_.parts_from_all_roles)
      return error(turn,
                   fmt::format("the content of a {} message must be text, not a list of parts",
                               name(message.role)));
    writer_.literal(join_parts(message.parts));
    return {};
  }

  Result<> write_instructions(const Turn& turn) {
    const Message& message = *turn.message;
    TESSERA_TRY(write_content(turn, message));
    if (!message.tools.empty()) {
      writer_.control("\n\n");
      writer_.control(kToolsBefore);
      for (const Tool& tool : message.tools) {
        if (&tool != message.tools.data()) writer_.control("\n");
        writer_.literal(tool.function);
      }
      writer_.control(kToolsAfter);
    }
    if (!message.response_format.empty()) {
      writer_.control("\n\n");
      writer_.control(kResponseFormatBefore);
      writer_.literal(message.response_format);
    }
    return {};
  }

  Result<> write_user(const Turn& turn) {
    writer_.control(kUserToken);
    for (const TurnBlock& block : turn.blocks) {
      if (&block != turn.blocks.data()) writer_.control("\n\n");
      if (block.is_tool_result) writer_.control(kToolResultOpen);
      TESSERA_TRY(write_content(turn, *block.message));
      if (block.is_tool_result) writer_.control(kToolResultClose);
    }
    return {};
  }

  Result<> write_assistant(size_t i) {
    const Turn& turn = turns_[i];
    const Message& message = *turn.message;
    const bool answers_task = i > 0 && turns_[i - 1].task().has_value();
    if (thinking_ && !answers_task && thinks(i, 1)) {
      if (!turn.drop_reasoning) writer_.literal(message.reasoning_content);
      writer_.control(kThinkClose);
    }
    thinking_is_open_ = false;
    TESSERA_TRY(write_content(turn, message));
    if (!message.tool_calls.empty()) write_tool_calls(message.tool_calls, writer_);
    if (!message.without_eos) writer_.control(kEndOfSentence);
    return {};
  }

  /// Whether reasoning shows at turn i; `after` turns past the last request when old one is
  /// dropped.
  bool thinks(size_t i, ptrdiff_t after) const {
    return !dropping_ || static_cast<ptrdiff_t>(i) >= last_request_ + after;
  }

  /// Hands over to the model, or to the assistant's next message.
  void write_transition(size_t i) {
    const Turn& turn = turns_[i];
    if (turn.task() && *turn.task() != Task::action) {
      writer_.control(fmt::format("<｜{}｜>", name(*turn.task())));
      return;
    }
    if (turn.task()) {
      writer_.control(kAssistantToken);
      writer_.control(thinking_ ? kThinkOpen : kThinkClose);
      writer_.control("<｜action｜>");
      return;
    }
    if (turn.role != Role::user && turn.role != Role::developer) return;
    thinking_is_open_ = thinking_ && thinks(i, 0);
    writer_.control(kAssistantToken);
    writer_.control(thinking_is_open_ ? kThinkOpen : kThinkClose);
  }

  std::vector<Turn> turns_;
  const ChatOptions& options_;
  bool thinking_;
  bool dropping_;
  ptrdiff_t last_request_;
  bool thinking_is_open_ = false;
  PromptWriter writer_;
};

}  // namespace

std::optional<ThinkingMode> find_thinking_mode(std::string_view name) {
  if (name == "chat") return ThinkingMode::chat;
  if (name == "thinking") return ThinkingMode::thinking;
  return std::nullopt;
}

std::optional<ReasoningEffort> find_reasoning_effort(std::string_view name) {
  if (name == "low") return ReasoningEffort::low;
  if (name == "high") return ReasoningEffort::high;
  if (name == "max") return ReasoningEffort::max;
  return std::nullopt;
}

Result<RenderedPrompt> render_prompt(std::span<const Message> messages,
                                     const ChatOptions& options) {
  TESSERA_ASSIGN(const std::string_view effort, effort_text(options));
  const auto has_tools = [](const Message& message) { return !message.tools.empty(); };
  const bool dropping = options.drop_thinking && options.mode == ThinkingMode::thinking &&
                        std::ranges::none_of(options.context, has_tools) &&
                        std::ranges::none_of(messages, has_tools);
  std::vector<Turn> turns = make_turns(options.context, messages);
  if (dropping) drop_old_thinking(turns);
  return Renderer(std::move(turns), options, dropping).render(effort);
}

}  // namespace tessera::text
