// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

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

/// {"ids": [5, 6]} as this command prints it, or numbers between commas and white space.
Result<std::vector<text::TokenId>> parse_ids(std::string_view text, text::TokenId size) {
  const size_t list = text.find('[');
  if (list != text.npos) text = text.substr(list + 1, text.rfind(']') - list - 1);
  std::vector<text::TokenId> ids;
  constexpr std::string_view kBetween = ", \t\r\n";
  for (size_t at = text.find_first_not_of(kBetween); at != text.npos;
       at = text.find_first_not_of(kBetween, at)) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    text::TokenId id = -1;
    const auto [stop, failure] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (failure == std::errc::invalid_argument || stop != word.data() + word.size())
      return invalid_argument(
          fmt::format("\"{}\" is not a token id; ids are numbers such as 5,6,7", word));
    if (failure != std::errc() || id < 0 || id >= size)
      return invalid_argument(
          fmt::format("no token {}; this tokenizer has 0 to {}", word, size - 1));
    ids.push_back(id);
    at = end;
  }
  return ids;
}

Result<int> run(const Arguments& arguments, const Program&) {
  TESSERA_ASSIGN(const std::string text, input(arguments));
  TESSERA_ASSIGN(const text::Tokenizer tokenizer, load_tokenizer(arguments.text("DIR")));
  if (arguments.flag("decode")) {
    TESSERA_ASSIGN(const auto ids, parse_ids(text, tokenizer.size()));
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
          .positionals = {{"DIR", "Folder of a checkpoint"},
                          {"TEXT", "The text; with --decode ids such as 5,6,7", false}},
          .options = {kFileOption,
                      {"-d,--decode", Kind::kFlag, "", "Turn ids into text and print it"},
                      {"--literal", Kind::kFlag, "", "Control tokens in the text are text"},
                      {"--skip-special", Kind::kFlag, "",
                       "With --decode: leave out special tokens such as the end of a sentence"}},
          .run = run};
}

}  // namespace tessera::cli
