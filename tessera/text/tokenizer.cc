// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>

#include "tessera/base/mapped_file.h"
#include "tessera/text/byte_alphabet.h"
#include "tessera/text/byte_pair_encoder.h"
#include "tessera/text/piece_cache.h"
#include "tessera/text/pre_tokenizer.h"
#include "tessera/text/tokenizer_file.h"
#include "tessera/text/utf8.h"

namespace tessera::text {

struct Tokenizer::State {
  PreTokenizer pre_tokenizer;
  BytePairEncoder encoder;
  std::vector<TokenId> symbol_ids;  // by symbol of the encoder
  AddedTokens added_tokens;
  std::unordered_map<std::string, TokenId> control_ids;
  std::vector<std::string> bytes;  // by id
  std::vector<bool> special;       // by id

  /// Appends to `ids`.
  void encode_short_piece(std::string_view piece, PieceCache& cache,
                          BytePairEncoder::Scratch& scratch, std::vector<TokenId>& ids) const;
};

namespace {

using Symbol = BytePairEncoder::Symbol;
using SymbolMap = std::unordered_map<std::string_view, Symbol>;

/// Fills `symbols` (by spelling; `spellings` keeps the bytes' own alive) and makes the encoder.
Result<BytePairEncoder> make_encoder(const TokenizerFile& file, std::vector<std::string>& spellings,
                                     SymbolMap& symbols) {
  spellings.reserve(256 + file.merges.size());
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    spellings.push_back(spelling_of_bytes({&c, 1}));
  }
  for (const auto& [left, right] : file.merges) spellings.push_back(left + right);
  // Of equal spellings the first counts; the encoder refuses the other.
  for (size_t i = 0; i < spellings.size(); ++i)
    symbols.try_emplace(spellings[i], static_cast<Symbol>(i));

  std::vector<std::pair<Symbol, Symbol>> merges;
  merges.reserve(file.merges.size());
  for (const auto& [left, right] : file.merges) {
    const auto left_symbol = symbols.find(left), right_symbol = symbols.find(right);
    for (const auto& [part, symbol] : {std::pair(&left, left_symbol), {&right, right_symbol}})
      if (symbol == symbols.end())
        return corrupt(fmt::format("model.merges[{}]: no byte and no merge makes \"{}\"",
                                   merges.size(), *part));
    merges.emplace_back(left_symbol->second, right_symbol->second);
  }
  return BytePairEncoder::create(merges).context("model.merges");
}

Result<std::vector<TokenId>> symbol_ids(const TokenizerFile& file,
                                        const std::vector<std::string>& spellings) {
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(file.vocabulary.size());
  for (const auto& [spelling, id] : file.vocabulary) ids.emplace(spelling, id);
  std::vector<TokenId> result;
  result.reserve(spellings.size());
  for (const std::string& spelling : spellings) {
    const auto found = ids.find(spelling);
    if (found == ids.end())
      return corrupt(fmt::format("model.vocab lacks \"{}\", which {}", spelling,
                                 result.size() < 256
                                     ? fmt::format("spells byte {}", result.size())
                                     : fmt::format("model.merges[{}] makes", result.size() - 256)));
    result.push_back(found->second);
  }
  return result;
}

/// What each id adds to a text; ids with two meanings are an error.
Result<std::vector<std::string>> bytes_by_id(const TokenizerFile& file) {
  std::vector<std::string> bytes;
  std::vector<const std::string*> spelling;
  const auto add = [&](const std::string& token, TokenId id) -> Result<> {
    const auto index = static_cast<size_t>(id);
    if (index >= bytes.size()) {
      bytes.resize(index + 1);
      spelling.resize(index + 1);
    }
    if (spelling[index] != nullptr && *spelling[index] != token)
      return corrupt(fmt::format("id {} is both \"{}\" and \"{}\"", id, *spelling[index], token));
    spelling[index] = &token;
    bytes[index] = bytes_of_spelling(token).value_or(token);
    return {};
  };
  for (const auto& [token, id] : file.vocabulary) TESSERA_TRY(add(token, id));
  for (const AddedToken& token : file.added_tokens) TESSERA_TRY(add(token.content, token.id));
  return bytes;
}

/// Makes `text` valid UTF-8 and moves the ranges along.
std::string repair(std::string_view text, std::vector<TextRange>& ranges) {
  std::string repaired;
  size_t done = 0;
  const auto copy_until = [&](size_t end) {
    end = std::clamp(end, done, text.size());
    repaired += replace_invalid_utf8(text.substr(done, end - done));
    done = end;
    return repaired.size();
  };
  for (TextRange& range : ranges) {
    range.begin = copy_until(range.begin);
    range.end = copy_until(range.end);
  }
  copy_until(text.size());
  return repaired;
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  TESSERA_ASSIGN(const MappedFile file, MappedFile::open(tokenizer_json));
  return parse(file.text()).context("loading " + tokenizer_json.string());
}

Result<Tokenizer> Tokenizer::parse(std::string_view json) {
  TESSERA_ASSIGN(const TokenizerFile file, parse_tokenizer_file(json));
  TESSERA_ASSIGN(PreTokenizer pre_tokenizer, PreTokenizer::compile(file.patterns));
  std::vector<std::string> spellings;
  SymbolMap symbols;
  TESSERA_ASSIGN(BytePairEncoder encoder, make_encoder(file, spellings, symbols));
  TESSERA_ASSIGN(std::vector<TokenId> ids, symbol_ids(file, spellings));
  TESSERA_ASSIGN(std::vector<std::string> bytes, bytes_by_id(file));

  std::unordered_map<std::string, TokenId> control_ids;
  std::vector<bool> special(bytes.size());
  for (const AddedToken& token : file.added_tokens) {
    const auto [entry, is_new] = control_ids.emplace(token.content, token.id);
    if (!is_new) return corrupt(fmt::format("added token \"{}\" comes twice", token.content));
    special[static_cast<size_t>(token.id)] = token.special;
  }
  return Tokenizer(std::make_unique<const State>(State{
      std::move(pre_tokenizer), std::move(encoder), std::move(ids), AddedTokens(file.added_tokens),
      std::move(control_ids), std::move(bytes), std::move(special)}));
}

void Tokenizer::State::encode_short_piece(std::string_view piece, PieceCache& cache,
                                          BytePairEncoder::Scratch& scratch,
                                          std::vector<TokenId>& ids) const {
  bool hit = false;
  PieceCache::Entry& entry = cache.find(piece, hit);
  if (!hit) {
    encoder.encode(piece, scratch);
    entry.count = static_cast<uint16_t>(scratch.symbols.size());
    for (size_t i = 0; i < std::min(scratch.symbols.size(), entry.tokens.size()); ++i)
      entry.tokens[i] = symbol_ids[scratch.symbols[i]];
    if (entry.count > entry.tokens.size()) {  // does not fit: leave the place free
      entry.length = 0;
      for (const Symbol symbol : scratch.symbols) ids.push_back(symbol_ids[symbol]);
      return;
    }
  }
  ids.insert(ids.end(), entry.tokens.begin(), entry.tokens.begin() + entry.count);
}

Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text,
                                               const EncodeOptions& options) const {
  std::vector<TextRange> literal(options.literal.begin(), options.literal.end());
  std::string repaired;
  if (!is_utf8(text)) text = repaired = repair(text, literal);

  std::vector<TokenId> ids;
  ids.reserve(text.size() / 4);
  BytePairEncoder::Scratch scratch;
  PieceCache cache(text.size());
  const PreTokenizer::Visit encode_piece = [&](std::string_view piece) {
    if (piece.size() <= PieceCache::kLongestPiece) {
      state_->encode_short_piece(piece, cache, scratch, ids);
      return;
    }
    state_->encoder.encode(piece, scratch);
    for (const Symbol symbol : scratch.symbols) ids.push_back(state_->symbol_ids[symbol]);
  };
  Result<> result;
  const auto encode_part = [&](std::string_view part, TokenId id) {
    if (id >= 0) {
      ids.push_back(id);
    } else if (result.ok()) {
      result = state_->pre_tokenizer.split(part, encode_piece);
    }
  };
  if (options.control_tokens) {
    state_->added_tokens.split(text, literal, encode_part);
  } else {
    encode_part(text, -1);
  }
  TESSERA_TRY(std::move(result));
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string bytes;
  for (const TokenId id : ids)
    if (!(skip_special && is_special(id))) bytes += token_bytes(id);
  return is_utf8(bytes) ? bytes : replace_invalid_utf8(bytes);
}

std::string_view Tokenizer::token_bytes(TokenId id) const {
  return id >= 0 && id < size() ? std::string_view(state_->bytes[static_cast<size_t>(id)])
                                : std::string_view();
}

std::optional<TokenId> Tokenizer::control_token(std::string_view content) const {
  const auto found = state_->control_ids.find(std::string(content));
  return found == state_->control_ids.end() ? std::nullopt : std::optional(found->second);
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && id < size() && state_->special[static_cast<size_t>(id)];
}

TokenId Tokenizer::size() const { return static_cast<TokenId>(state_->bytes.size()); }

}  // namespace tessera::text
