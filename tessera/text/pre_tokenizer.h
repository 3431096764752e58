// SPDX-License-Identifier: Apache-2.0
// Cuts text into the pieces that byte-pair encoding never joins: a chain of regular expressions,
// each of which cuts every piece of the one before into its matches and what lies between them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"

namespace tessera::text {

/// Immutable after creation: one object serves all threads.
class PreTokenizer {
 public:
  using Visit = std::function<void(std::string_view piece)>;

  /// Patterns in the syntax of Oniguruma as far as PCRE2 shares it, over Unicode; \s is the
  /// property White_Space. Errors: a pattern that does not compile, \S within a character class.
  static Result<PreTokenizer> compile(const std::vector<std::string>& patterns);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  /// Visits the pieces of `text` (valid UTF-8) in order; none is empty and they add up to `text`.
  /// Error: a pattern that backtracks beyond PCRE2's limits.
  Result<> split(std::string_view text, const Visit& visit) const;

 private:
  class Regex;
  class Match;
  PreTokenizer();
  Result<> split_by(size_t step, std::string_view text, std::vector<Match>& matches,
                    const Visit& visit) const;

  std::vector<std::unique_ptr<Regex>> steps_;
};

}  // namespace tessera::text
