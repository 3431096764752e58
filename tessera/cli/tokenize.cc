// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>

#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/text_input.h"

namespace tessera::cli {
namespace {

Result<std::string> input(const Arguments& arguments) {
  if (arguments.has("TEXT") && arguments.has("file"))
    return invalid_argument("TEXT and --file are both given; give one");
  if (arguments.has("file")) return read_text_file(arguments.text("file"));
  if (arguments.has("TEXT")) return checked_utf8(arguments.text("TEXT"), "TEXT");
  return invalid_argument("no text; give TEXT, or --file FILE (- is standard input)");
}

Result<> check_range(std::span<const text::TokenId> ids, text::TokenId size) {
  for (const text::TokenId id : ids)
    if (id < 0 || id >= size)
      return invalid_argument(fmt::format("no token {}; this tokenizer has 0 to {}", id, size - 1));
  return {};
}

Result<int> run(const Arguments& arguments, const Program&) {
  TESSERA_ASSIGN(const std::string text, input(arguments));
  TESSERA_ASSIGN(const auto folder, model_folder(arguments.text("DIR")));
  TESSERA_ASSIGN(const text::Tokenizer tokenizer, load_tokenizer(folder));
  if (arguments.flag("decode")) {
    TESSERA_ASSIGN(const auto ids, parse_token_ids(text));
    TESSERA_TRY(check_range(ids, tokenizer.size()));
    const std::string decoded = tokenizer.decode(ids, arguments.flag("skip-special"));
    fmt::print("{}\n", arguments.json() ? nlohmann::json({{"text", decoded}}).dump() : decoded);
    return 0;
  }
  TESSERA_ASSIGN(const auto ids,
                 tokenizer.encode(text, {.control_tokens = !arguments.flag("literal")}));
  fmt::print("{}\n", nlohmann::json({{"ids", ids}}).dump());
  return 0;
}

}  // namespace

CommandSpec tokenize_command() {
  using Kind = OptionSpec::Kind;
  return {.path = "tokenize",
          .summary = "Turn text into token ids, or back",
          .details =
              "Prints {\"ids\":[...]}. Needs only tokenizer.json of the folder.\n"
              "Control tokens in the text count, as in a rendered prompt; --literal makes "
              "them text.\n"
              "Example: tessera tokenize DIR 'Hello' | tessera tokenize DIR --file - --decode",
          .positionals = {{"DIR", "Folder of a checkpoint, or tiny"},
                          {"TEXT", "The text; with --decode ids such as 5,6,7", false}},
          .options = {kFileOption,
                      {"-d,--decode", Kind::kFlag, "", "Turn ids into text and print it"},
                      {"--literal", Kind::kFlag, "", "Control tokens in the text are text"},
                      {"--skip-special", Kind::kFlag, "",
                       "With --decode: leave out special tokens such as the end of a sentence"}},
          .run = run};
}

}  // namespace tessera::cli
