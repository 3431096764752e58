// SPDX-License-Identifier: Apache-2.0
// Hostile completions: the cuts of a stream change nothing, and arguments are JSON.
#include <algorithm>
#include <iterator>

#include "tessera/base/check.h"
#include "tessera/base/testing/fuzz_target.h"
#include "tessera/text/completion_parser.h"
#include "tessera/text/json_value.h"

namespace tessera::text {
namespace {

void append(Completion& all, Completion part) {
  all.reasoning_content += part.reasoning_content;
  all.content += part.content;
  std::ranges::move(part.tool_calls, std::back_inserter(all.tool_calls));
}

void try_options(std::string_view text, const CompletionOptions& options) {
  const Completion at_once = parse_completion(text, options);
  for (const ToolCall& call : at_once.tool_calls) {
    const auto arguments = JsonValue::parse(call.arguments);
    TESSERA_CHECK(arguments.ok() && arguments->is(JsonValue::Kind::object), "{}", call.arguments);
    TESSERA_CHECK(options.knows(call.name));
  }
  for (const size_t step : {1, 2, 5, 17}) {
    CompletionParser parser(options);
    Completion all;
    for (size_t i = 0; i < text.size(); i += step) append(all, parser.push(text.substr(i, step)));
    append(all, parser.finish());
    TESSERA_CHECK(all.content == at_once.content, "{} / {}", all.content, at_once.content);
    TESSERA_CHECK(all.reasoning_content == at_once.reasoning_content);
    TESSERA_CHECK(std::ranges::equal(all.tool_calls, at_once.tool_calls, {}, &ToolCall::arguments,
                                     &ToolCall::arguments));
  }
  (void)parse_completion_strictly(text, options).ok();
}

}  // namespace
}  // namespace tessera::text

std::vector<std::string> fuzz_seeds() {
  const std::string call =
      "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x y"
      "</｜DSML｜parameter>\n<｜DSML｜parameter name=\"b\" string=\"false\">[1, 2]"
      "</｜DSML｜parameter>\n</｜DSML｜invoke>";
  const std::string block = "\n\n<｜DSML｜tool_calls>\n" + call + "\n</｜DSML｜tool_calls>";
  return {"Hello\n\n world<｜end▁of▁sentence｜>",
          "<think>Reasoning</think>Answer<｜end▁of▁sentence｜>",
          "Sure." + block + "<｜end▁of▁sentence｜>",
          "R</think>" + block + block,
          call,
          "<｜DSML｜toolcalls>" + call + "</｜DSML｜toolcalls>text</think>",
          "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"g\">\n\n</｜DSML｜invoke>\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tessera::text::CompletionOptions;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  tessera::text::try_options(text, CompletionOptions{});
  tessera::text::try_options(text, CompletionOptions{.starts_in_reasoning = true});
  tessera::text::try_options(text, CompletionOptions{.tools = std::vector<std::string>{"f"}});
  return 0;
}
