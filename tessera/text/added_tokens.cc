// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/added_tokens.h"

namespace tessera::text {
namespace {

ByteTrie make_trie(std::span<const AddedToken> tokens, bool normalized) {
  std::vector<std::pair<std::string_view, uint32_t>> entries;
  for (const AddedToken& token : tokens)
    if (token.normalized == normalized)
      entries.emplace_back(token.content, static_cast<uint32_t>(token.id));
  return ByteTrie(std::move(entries));
}

/// Whether [begin, end) meets a range; `next` is the first range that may, and moves on.
bool touches(std::span<const TextRange> ranges, size_t& next, size_t begin, size_t end) {
  while (next < ranges.size() && ranges[next].end <= begin) ++next;
  return next < ranges.size() && ranges[next].begin < end;
}

/// Cuts text[range] at the entries of `trie`.
template <class Plain, class Token>
void cut(const ByteTrie& trie, std::string_view text, TextRange range,
         std::span<const TextRange> literal, const Plain& plain, const Token& token) {
  size_t done = range.begin, next_literal = 0;
  for (size_t i = range.begin; i < range.end;) {
    if (!trie.starts_with(text[i])) {
      ++i;
      continue;
    }
    const auto match = trie.longest_match(text.substr(i, range.end - i));
    if (match.value == ByteTrie::kNone || touches(literal, next_literal, i, i + match.length)) {
      ++i;
      continue;
    }
    if (done < i) plain(TextRange{done, i});
    token(TextRange{i, i + match.length}, static_cast<TokenId>(match.value));
    done = i += match.length;
  }
  if (done < range.end) plain(TextRange{done, range.end});
}

}  // namespace

AddedTokens::AddedTokens(std::span<const AddedToken> tokens)
    : raw_(make_trie(tokens, false)), normalized_(make_trie(tokens, true)) {}

void AddedTokens::split(std::string_view text, std::span<const TextRange> literal,
                        const Visit& visit) const {
  const auto part = [&](TextRange range) {
    return text.substr(range.begin, range.end - range.begin);
  };
  const auto token = [&](TextRange range, TokenId id) { visit(part(range), id); };
  const auto plain = [&](TextRange range) { visit(part(range), -1); };
  cut(
      raw_, text, {0, text.size()}, literal,
      [&](TextRange range) { cut(normalized_, text, range, literal, plain, token); }, token);
}

}  // namespace tessera::text
