// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/text_input.h"
#include "tessera/text/message_json.h"

namespace tessera::cli {
namespace {

Result<int> run(const Arguments& arguments, const Program&) {
  TESSERA_ASSIGN(const auto folder, model_folder(arguments.text("DIR")));
  const std::string file = arguments.text("file", "-");
  TESSERA_ASSIGN(text::ChatOptions options, chat_options(arguments, folder));
  options.control_tokens_in_content = arguments.flag("control-tokens");
  TESSERA_TRY(tokenizer_file(folder));
  TESSERA_ASSIGN(const std::string json, read_text_file(file));
  auto messages = text::parse_messages(json).context(source_name(file));
  if (!messages.ok()) return std::move(messages).error();
  TESSERA_ASSIGN(const text::RenderedPrompt prompt, text::render_prompt(*messages, options));
  nlohmann::ordered_json out = {{"prompt", prompt.text}};
  if (arguments.flag("ids")) {
    TESSERA_ASSIGN(const text::Tokenizer tokenizer, load_tokenizer(folder));
    TESSERA_ASSIGN(const auto ids, tokenizer.encode(prompt.text, {.literal = prompt.literal}));
    out["ids"] = ids;
  }
  fmt::print("{}\n", out.dump());
  return 0;
}

}  // namespace

CommandSpec prompt_render_command() {
  using Kind = OptionSpec::Kind;
  return {.path = "prompt render",
          .summary = "Turn a conversation into the model's prompt",
          .details =
              "Reads {\"messages\":[...]} with \"tools\" if wanted, as in a chat completion "
              "request; prints {\"prompt\":\"...\"}.\n"
              "Control tokens that somebody typed in a message stay text: take the ids from "
              "--ids, not from the prompt.\n"
              "Example: tessera prompt render DIR --file request.json --thinking-mode thinking",
          .positionals = {{"DIR", "Folder of a checkpoint; needs only the tokenizer files"}},
          .options = {kFileOption,
                      kThinkingModeOption,
                      kEffortOption,
                      kEncodingOption,
                      {"--ids", Kind::kFlag, "", "Print the token ids as well"},
                      {"--control-tokens", Kind::kFlag, "",
                       "Control tokens in messages count: whoever types one can speak as another"}},
          .run = run};
}

}  // namespace tessera::cli
