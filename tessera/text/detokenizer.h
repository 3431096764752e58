// SPDX-License-Identifier: Apache-2.0
// Tokens to text while they arrive. A token may end within a character; the text given out never
// does.
#pragma once

#include <string>

#include "tessera/text/tokenizer.h"

namespace tessera::text {

/// The texts that push() and finish() return add up to what Tokenizer::decode() gives for all
/// tokens.
class Detokenizer {
 public:
  /// The tokenizer must outlive this object.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}

  /// The text that is complete with this token, possibly empty. At most three bytes are held back.
  std::string push(TokenId id);

  /// U+FFFD when the last character never became complete, else empty. Ready for a new text after.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // the beginning of a character
};

}  // namespace tessera::text
