// SPDX-License-Identifier: Apache-2.0
// Hostile conversations: whatever parses renders to valid UTF-8 or to an error.
#include "tessera/base/check.h"
#include "tessera/base/testing/fuzz_target.h"
#include "tessera/text/chat_encoding.h"
#include "tessera/text/message_json.h"
#include "tessera/text/utf8.h"

std::vector<std::string> fuzz_seeds() {
  return {R"([{"role": "user", "content": "Q"}])",
          R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "tools":
              [{"type": "function", "function": {"name": "f", "parameters": {"a": [1, 2.5e3]}}}],
              "response_format": {"type": "json_object"}})",
          R"([{"role": "system", "content": null}, {"role": "assistant", "reasoning_content": "r",
              "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
              {"id": "2", "function": {"name": "g", "arguments": "x"}}]},
              {"role": "tool", "tool_call_id": "2", "content": "b"},
              {"role": "tool", "tool_call_id": "1", "content": "a"},
              {"role": "latest_reminder", "content": "now"}, {"role": "developer", "content": "d"},
              {"role": "user", "content": "Q", "task": "action"},
              {"role": "assistant", "content": "A", "prefix": true}])"};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera::text;
  const auto messages = parse_messages({reinterpret_cast<const char*>(data), size});
  if (!messages.ok()) return 0;
  for (const ThinkingMode mode : {ThinkingMode::chat, ThinkingMode::thinking})
    for (const bool drop : {false, true}) {
      const auto prompt = render_prompt(
          *messages, {.mode = mode, .drop_thinking = drop, .parts_from_all_roles = drop});
      if (!prompt.ok()) continue;
      TESSERA_CHECK(is_utf8(prompt->text));
      size_t end = 0;
      for (const TextRange& range : prompt->literal) {
        TESSERA_CHECK(range.begin >= end && range.begin < range.end);
        end = range.end;
      }
      TESSERA_CHECK(end <= prompt->text.size());
    }
  return 0;
}
