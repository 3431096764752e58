// SPDX-License-Identifier: Apache-2.0
// Text that a command works on: from the command line, a file or standard input.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/cli/command.h"
#include "tessera/text/added_tokens.h"

namespace tessera::cli {

inline constexpr OptionSpec kFileOption{"-f,--file", OptionSpec::Kind::kText, "FILE",
                                        "Read the input from FILE; - is standard input"};

/// How errors name `file`: "standard input" for "-".
std::string source_name(const std::string& file);

/// The whole of `file`, or of standard input for "-". Errors name the file: not_found, io, and
/// invalid_argument with the place of the first byte that is not UTF-8.
Result<std::string> read_text_file(const std::string& file);

/// `text`, or invalid_argument with the first byte that is not UTF-8. `what` names the text.
Result<std::string> checked_utf8(std::string text, std::string_view what);

/// Numbers between commas and white space, or a list {"ids": [5, 6]} as `tokenize` prints it.
/// Error: invalid_argument with the word that is no id.
Result<std::vector<text::TokenId>> parse_token_ids(std::string_view text);

}  // namespace tessera::cli
