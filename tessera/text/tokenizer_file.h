// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.json (the format of the Hugging Face tokenizers library, version 1.0) says, for
// the kind that DeepSeek ships: byte-level BPE behind a chain of regular expressions. Anything in
// the file that would change the result and is not done here is an error, never ignored.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/text/added_tokens.h"

namespace tessera::text {

struct TokenizerFile {
  std::vector<std::pair<std::string, TokenId>> vocabulary;  // spelled in the byte alphabet
  std::vector<std::pair<std::string, std::string>> merges;  // by rank, spelled likewise
  std::vector<AddedToken> added_tokens;
  std::vector<std::string> patterns;  // of the pre-tokenizer, in order
};

/// Checks types and what each field may hold, not yet how they fit together.
Result<TokenizerFile> parse_tokenizer_file(std::string_view json);

}  // namespace tessera::text
