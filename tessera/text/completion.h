// SPDX-License-Identifier: Apache-2.0
// What a model wrote, taken apart.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/text/message.h"

namespace tessera::text {

/// The assistant's message, or what a part of its text adds to it: strings are to be appended.
struct Completion {
  std::string reasoning_content;
  std::string content;
  std::vector<ToolCall> tool_calls;  // without ids; arguments are JSON objects

  bool empty() const { return reasoning_content.empty() && content.empty() && tool_calls.empty(); }
};

struct CompletionOptions {
  /// From RenderedPrompt: the text begins with reasoning, up to </think>.
  bool starts_in_reasoning = false;

  /// Names that may be called; without them, every name. Others stay text.
  std::optional<std::vector<std::string>> tools = std::nullopt;

  bool knows(std::string_view tool) const {
    return !tools || std::ranges::find(*tools, tool) != tools->end();
  }
};

/// By DeepSeek's own rules, which take nothing amiss: for tests, and to tell a clean answer from a
/// repaired one. Values of parameters that are not text are passed through unchecked. Errors
/// (invalid_argument): no end of the reasoning or of the sentence, text where none may be, a
/// parameter that comes twice or is malformed, control tokens in the text. `options.tools` is not
/// looked at.
Result<Completion> parse_completion_strictly(std::string_view text,
                                             const CompletionOptions& options = {});

}  // namespace tessera::text
