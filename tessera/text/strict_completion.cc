// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <array>
#include <set>

#include "tessera/text/chat_texts.h"
#include "tessera/text/completion.h"
#include "tessera/text/json_value.h"

namespace tessera::text {
namespace {

/// Reads from the front of a text.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool empty() const { return rest_.empty(); }
  bool accept(std::string_view expected) {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  Result<> expect(std::string_view expected) {
    if (accept(expected)) return {};
    return invalid_argument(fmt::format("expected {} instead of {}", json_quote(expected),
                                        json_quote(rest_.substr(0, 40))));
  }
  /// What lies before `end`; goes behind it.
  Result<std::string_view> until(std::string_view end) {
    const size_t at = rest_.find(end);
    if (at == std::string_view::npos)
      return invalid_argument(
          fmt::format("no {} after {}", json_quote(end), json_quote(rest_.substr(0, 40))));
    const std::string_view before = rest_.substr(0, at);
    rest_.remove_prefix(at + end.size());
    return before;
  }
  std::string_view rest() const { return rest_; }
  void skip(size_t count) { rest_.remove_prefix(count); }

 private:
  std::string_view rest_;
};

Result<> check_plain(std::string_view text, std::string_view where) {
  for (const std::string_view token :
       {kBeginOfSentence, kEndOfSentence, kThinkOpen, kThinkClose, kDsml})
    if (text.find(token) != std::string_view::npos)
      return invalid_argument(fmt::format("control token {} in the {}", token, where));
  return {};
}

/// Behind `<｜DSML｜parameter`. Appends "name": value.
Result<> read_parameter(Cursor& cursor, std::set<std::string_view>& names, std::string& arguments) {
  TESSERA_TRY(cursor.expect(" name=\""));
  TESSERA_ASSIGN(const std::string_view name, cursor.until("\" string=\""));
  const bool is_text = cursor.accept("true\">");
  if (!is_text && !cursor.accept("false\">"))
    return invalid_argument(
        fmt::format("parameter \"{}\": string must be \"true\" or \"false\"", name));
  TESSERA_ASSIGN(const std::string_view value, cursor.until(kParameterClose));
  TESSERA_TRY(cursor.expect("\n"));
  if (!names.insert(name).second)
    return invalid_argument(fmt::format("parameter \"{}\" comes twice", name));
  if (names.size() > 1) arguments += ", ";
  arguments += json_quote(name) + ": ";
  arguments += is_text ? json_quote(value) : std::string(value);
  return {};
}

Result<ToolCall> read_invoke(Cursor& cursor) {
  TESSERA_TRY(cursor.expect(kInvokeOpen));
  TESSERA_TRY(cursor.expect(" name=\""));
  TESSERA_ASSIGN(const std::string_view name, cursor.until("\">\n"));
  ToolCall call{.id = {}, .name = std::string(name), .arguments = "{"};
  std::set<std::string_view> parameters;
  while (cursor.accept(kParameterOpen))
    TESSERA_TRY(read_parameter(cursor, parameters, call.arguments));
  cursor.accept("\n");  // the encoder leaves a line empty when there are no parameters
  TESSERA_TRY(cursor.expect(kInvokeClose));
  TESSERA_TRY(cursor.expect("\n"));
  call.arguments += '}';
  return call;
}

}  // namespace

Result<Completion> parse_completion_strictly(std::string_view text,
                                             const CompletionOptions& options) {
  const std::string block_open = fmt::format("\n\n{}", kToolCallsOpen);
  Completion completion;
  Cursor cursor(text);
  if (options.starts_in_reasoning) {
    const size_t end = text.find(kThinkClose);
    if (end == std::string_view::npos || text.find(block_open) < end)
      return invalid_argument("the reasoning has no end: </think> is missing");
    completion.reasoning_content = text.substr(0, end);
    cursor.skip(end + kThinkClose.size());
  }
  const size_t eos = cursor.rest().find(kEndOfSentence);
  const size_t block = cursor.rest().find(block_open);
  const size_t content_end = std::min(eos, block);
  if (content_end == std::string_view::npos)
    return invalid_argument("the end-of-sentence token is missing");
  completion.content = cursor.rest().substr(0, content_end);
  cursor.skip(content_end);
  if (cursor.accept(block_open)) {
    TESSERA_TRY(cursor.expect("\n"));
    while (!cursor.accept(kToolCallsClose)) {
      TESSERA_ASSIGN(ToolCall call, read_invoke(cursor));
      completion.tool_calls.push_back(std::move(call));
    }
  }
  cursor.accept(kEndOfSentence);
  if (!cursor.empty())
    return invalid_argument(
        fmt::format("text after the end: {}", json_quote(cursor.rest().substr(0, 40))));
  TESSERA_TRY(check_plain(completion.content, "content"));
  TESSERA_TRY(check_plain(completion.reasoning_content, "reasoning"));
  return completion;
}

}  // namespace tessera::text
