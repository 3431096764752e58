// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tessera/cli/answer_printer.h"
#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/text_input.h"
#include "tessera/text/completion_parser.h"
#include "tessera/text/json_value.h"

namespace tessera::cli {
namespace {

Result<std::string> completion_text(const std::string& json) {
  TESSERA_ASSIGN(const text::JsonValue root, text::JsonValue::parse(json));
  const text::JsonValue* text = root.find("text");
  if (text == nullptr) return invalid_argument("\"text\" is missing");
  if (!text->is(text::JsonValue::Kind::string))
    return invalid_argument(
        fmt::format("\"text\" must be text, not {}", text::describe(text->kind)));
  return text->text;
}

Result<int> run(const Arguments& arguments, const Program&) {
  TESSERA_ASSIGN(const auto folder, model_folder(arguments.text("DIR")));
  const std::string file = arguments.text("file", "-");
  TESSERA_ASSIGN(const text::ChatOptions chat, chat_options(arguments, folder));
  TESSERA_TRY(tokenizer_file(folder));
  TESSERA_ASSIGN(const std::string json, read_text_file(file));
  auto text = completion_text(json).context(source_name(file));
  if (!text.ok()) return std::move(text).error();
  text::CompletionOptions options{.starts_in_reasoning = chat.mode == text::ThinkingMode::thinking};
  if (arguments.has("tool")) options.tools = arguments.list("tool");
  text::Completion completion;
  if (arguments.flag("strict")) {
    TESSERA_ASSIGN(completion, text::parse_completion_strictly(*text, options));
  } else {
    completion = text::parse_completion(*text, options);
  }
  fmt::print("{}\n", message_json(completion).dump());
  return 0;
}

}  // namespace

CommandSpec prompt_parse_command() {
  using Kind = OptionSpec::Kind;
  return {.path = "prompt parse",
          .summary = "Take apart what the model wrote: reasoning, content, tool calls",
          .details =
              "Reads {\"text\":\"...\"}; prints {\"role\", \"content\", "
              "\"reasoning_content\", \"tool_calls\"}.\n"
              "Malformed answers are repaired where that is safe; --strict reports them.\n"
              "Example: tessera prompt parse DIR --file answer.json --thinking-mode thinking",
          .positionals = {{"DIR", "Folder of a checkpoint; needs only the tokenizer files"}},
          .options = {kFileOption,
                      kThinkingModeOption,
                      kEffortOption,
                      kEncodingOption,
                      {"--tool", Kind::kList, "NAME",
                       "Only calls of this tool count; may be repeated (default: all names)"},
                      {"--strict", Kind::kFlag, "", "DeepSeek's own rules: no repairs"}},
          .run = run};
}

}  // namespace tessera::cli
