// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/text_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <utility>

#include "tessera/text/utf8.h"

namespace tessera::cli {

std::string source_name(const std::string& file) {
  return file == "-" ? "standard input" : fmt::format("\"{}\"", file);
}

Result<std::string> read_text_file(const std::string& file) {
  if (file == "-")
    return checked_utf8({std::istreambuf_iterator<char>(std::cin), {}}, source_name(file));
  std::error_code failure;
  const auto status = std::filesystem::status(file, failure);
  if (!std::filesystem::exists(status)) return not_found(fmt::format("no file \"{}\"", file));
  if (std::filesystem::is_directory(status))
    return io_error(fmt::format("\"{}\" is a folder, a file is needed", file));
  std::ifstream stream(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream.good() && !stream.eof()) return io_error(fmt::format("\"{}\" cannot be read", file));
  return checked_utf8(std::move(text), source_name(file));
}

Result<std::string> checked_utf8(std::string text, std::string_view what) {
  for (size_t at = 0; at < text.size();) {
    const text::Utf8Step step = text::next_utf8(std::string_view(text).substr(at));
    if (step.kind != text::Utf8Kind::valid)
      return invalid_argument(fmt::format("{} is not UTF-8: {} at byte {} (0x{:02X})", what,
                                          step.kind == text::Utf8Kind::incomplete
                                              ? "a character is cut off"
                                              : "no character begins",
                                          at, static_cast<uint8_t>(text[at])));
    at += step.length;
  }
  return text;
}

Result<std::vector<text::TokenId>> parse_token_ids(std::string_view text) {
  const size_t list = text.find('[');
  if (list != text.npos) text = text.substr(list + 1, text.rfind(']') - list - 1);
  std::vector<text::TokenId> ids;
  constexpr std::string_view kBetween = ", \t\r\n";
  for (size_t at = text.find_first_not_of(kBetween); at != text.npos;
       at = text.find_first_not_of(kBetween, at)) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    text::TokenId id = 0;
    const auto [stop, failure] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (failure != std::errc() || stop != word.data() + word.size())
      return invalid_argument(
          fmt::format("\"{}\" is not a token id; ids are numbers such as 5,6,7", word));
    ids.push_back(id);
    at = end;
  }
  return ids;
}

}  // namespace tessera::cli
