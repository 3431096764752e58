// SPDX-License-Identifier: Apache-2.0
// Text to tokens and back, as tokenizer.json says: byte-level BPE with control tokens. Equal token
// for token to the Hugging Face tokenizers library on valid UTF-8.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/text/added_tokens.h"
#include "tessera/text/text_range.h"

namespace tessera::text {

struct EncodeOptions {
  /// False: control tokens are ordinary text everywhere.
  bool control_tokens = true;
  /// Where control tokens are ordinary text all the same, such as what a user typed: sorted,
  /// disjoint ranges of the text. They do not cut it: tokens may reach across their borders.
  std::span<const TextRange> literal = {};
};

/// Immutable: one object serves all threads.
class Tokenizer {
 public:
  /// Errors: not_found or io for the file, and those of parse().
  static Result<Tokenizer> load(const std::filesystem::path& tokenizer_json);

  /// Errors: corrupt (cut off, inconsistent), unsupported (a kind of tokenizer other than this
  /// one).
  static Result<Tokenizer> parse(std::string_view json);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Adds no begin-of-sentence token. Bytes that are not UTF-8 count as U+FFFD (utf8.h). Error: a
  /// text on which a pre-tokenizer pattern exceeds the limits of PCRE2.
  Result<std::vector<TokenId>> encode(std::string_view text,
                                      const EncodeOptions& options = {}) const;

  /// Leaves out special tokens when `skip_special` (thinking, role and tool tags are not special)
  /// and ids that stand for nothing. Bytes that are not UTF-8 come out as U+FFFD. Inverse of
  /// encode().
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  /// The bytes that a token adds to a text, possibly a part of a character; empty for unknown ids.
  std::string_view token_bytes(TokenId id) const;

  /// The id of a control token ("<｜User｜>").
  std::optional<TokenId> control_token(std::string_view content) const;
  bool is_special(TokenId id) const;

  /// One more than the highest id.
  TokenId size() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace tessera::text
