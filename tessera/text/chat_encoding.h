// SPDX-License-Identifier: Apache-2.0
// The prompt of a conversation as DeepSeek-V4 was trained on it. Equal letter for letter to
// DeepSeek's own encoder (encoding_dsv4.py) and, with ChatVersion::v4_0731, to that of the 0731
// checkpoints.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/text/message.h"
#include "tessera/text/text_range.h"

namespace tessera::text {

enum class ChatVersion { v4, v4_0731 };
enum class ThinkingMode { chat, thinking };
enum class ReasoningEffort { low, high, max };

std::optional<ThinkingMode> find_thinking_mode(std::string_view name);
std::optional<ReasoningEffort> find_reasoning_effort(std::string_view name);

struct ChatOptions {
  ChatVersion version = ChatVersion::v4;
  ThinkingMode mode = ThinkingMode::thinking;

  /// Without it the model's default. v4 knows high (the default) and max; v4_0731 low (the
  /// default), high and max. Matters in thinking mode only.
  std::optional<ReasoningEffort> effort = {};

  /// Leaves out the reasoning of assistants before the last request. Off whenever a message has
  /// tools.
  bool drop_thinking = true;

  /// Without a context the prompt begins with the begin-of-sentence token.
  bool begin_of_sentence = true;

  /// What was rendered before; the prompt goes on from there.
  std::span<const Message> context = {};

  /// True: control tokens typed in messages are control tokens, as with DeepSeek's encoder. False:
  /// they stay text, so that nobody can end his turn and speak as another.
  bool control_tokens_in_content = false;

  /// True: content that is a list of parts is taken from every role and joined as a tool's is.
  /// False: from tools only, as DeepSeek's encoder does.
  bool parts_from_all_roles = false;
};

struct RenderedPrompt {
  std::string text;
  std::vector<TextRange> literal;    // for EncodeOptions: where control tokens are text
  bool starts_in_reasoning = false;  // the model's answer begins with its reasoning
};

/// Errors (invalid_argument): an effort that the version lacks, a developer without content, parts
/// where they are not taken. They name the message: "messages[2]: ...", "context[0]: ...".
Result<RenderedPrompt> render_prompt(std::span<const Message> messages,
                                     const ChatOptions& options = {});

}  // namespace tessera::text
