// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/tokenizer_file.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace tessera::text {
namespace {

using Json = nlohmann::json;

constexpr TokenId kMostTokens = 1 << 21;

/// The value at `key` of an object, null when it is absent.
const Json& at(const Json& object, const char* key) {
  static const Json null;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found == object.end() ? null : *found;
}

bool is_true(const Json& value) { return value.is_boolean() && value.get<bool>(); }

std::string text_or_empty(const Json& value) {
  return value.is_string() ? value.get_ref<const std::string&>() : std::string();
}

Result<TokenId> token_id(const Json& value, std::string_view where) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() >= kMostTokens)
    return corrupt(fmt::format("{}: the id must be an integer in [0, {})", where, kMostTokens));
  return value.get<TokenId>();
}

Result<> check_model(const Json& model) {
  if (!model.is_object()) return corrupt("tokenizer.json has no object \"model\"");
  const std::string type = text_or_empty(at(model, "type"));
  if (type != "BPE")
    return unsupported(fmt::format("model.type is \"{}\", expected \"BPE\"", type));
  for (const char* key :
       {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"})
    if (!at(model, key).is_null() && at(model, key) != "")
      return unsupported(fmt::format("model.{} is set, expected null", key));
  for (const char* key : {"byte_fallback", "ignore_merges"})
    if (is_true(at(model, key)))
      return unsupported(fmt::format("model.{} is true, expected false", key));
  return {};
}

Result<> read_vocabulary(const Json& model, TokenizerFile& file) {
  const Json& vocabulary = at(model, "vocab");
  if (!vocabulary.is_object()) return corrupt("model.vocab must be an object");
  file.vocabulary.reserve(vocabulary.size());
  for (const auto& [spelling, id] : vocabulary.items()) {
    TESSERA_ASSIGN(const TokenId value, token_id(id, fmt::format("model.vocab[\"{}\"]", spelling)));
    file.vocabulary.emplace_back(spelling, value);
  }
  return {};
}

/// "left right" or ["left", "right"].
Result<std::pair<std::string, std::string>> read_merge(const Json& merge, size_t rank) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return std::pair(merge[0].get<std::string>(), merge[1].get<std::string>());
  if (merge.is_string()) {
    const auto& both = merge.get_ref<const std::string&>();
    const size_t space = both.find(' ');
    if (space != std::string::npos && both.find(' ', space + 1) == std::string::npos)
      return std::pair(both.substr(0, space), both.substr(space + 1));
  }
  return corrupt(fmt::format("model.merges[{}] must be two tokens", rank));
}

Result<> read_merges(const Json& model, TokenizerFile& file) {
  const Json& merges = at(model, "merges");
  if (!merges.is_array()) return corrupt("model.merges must be an array");
  file.merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    TESSERA_ASSIGN(auto merge, read_merge(merges[rank], rank));
    file.merges.push_back(std::move(merge));
  }
  return {};
}

Result<> read_added_tokens(const Json& root, TokenizerFile& file) {
  const Json& tokens = at(root, "added_tokens");
  if (tokens.is_null()) return {};
  if (!tokens.is_array()) return corrupt("added_tokens must be an array");
  size_t bytes = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string where = fmt::format("added_tokens[{}]", i);
    AddedToken token;
    TESSERA_ASSIGN(token.id, token_id(at(tokens[i], "id"), where));
    token.content = text_or_empty(at(tokens[i], "content"));
    if (token.content.empty()) return corrupt(where + ": the content must be text, not empty");
    token.special = is_true(at(tokens[i], "special"));
    token.normalized = is_true(at(tokens[i], "normalized"));
    for (const char* key : {"lstrip", "rstrip", "single_word"})
      if (is_true(at(tokens[i], key)))
        return unsupported(fmt::format("{}: {} is true, expected false", where, key));
    bytes += token.content.size();
    if (bytes > ByteTrie::kMostBytes)
      return unsupported(where + ": added tokens of more than 32 MiB in all");
    file.added_tokens.push_back(std::move(token));
  }
  return {};
}

/// One step of the chain. Sets `byte_level` when it is the one that spells bytes, which ends it.
Result<> read_step(const Json& step, const std::string& where, bool& byte_level,
                   std::vector<std::string>& patterns) {
  const std::string type = text_or_empty(at(step, "type"));
  if (byte_level) return unsupported(where + ": nothing may follow ByteLevel");
  if (type == "ByteLevel") {
    for (const char* key : {"add_prefix_space", "use_regex"})
      if (!at(step, key).is_boolean() || is_true(at(step, key)))
        return unsupported(fmt::format("{}: {} must be false", where, key));
    byte_level = true;
    return {};
  }
  if (type != "Split")
    return unsupported(
        fmt::format("{}: type \"{}\", expected \"Split\" or \"ByteLevel\"", where, type));
  const Json& regex = at(at(step, "pattern"), "Regex");
  if (!regex.is_string()) return unsupported(where + ": the pattern must be a Regex");
  if (text_or_empty(at(step, "behavior")) != "Isolated" || is_true(at(step, "invert")))
    return unsupported(where + ": the behavior must be \"Isolated\", not inverted");
  patterns.push_back(regex.get<std::string>());
  return {};
}

Result<> read_pre_tokenizer(const Json& root, TokenizerFile& file) {
  const Json& pre_tokenizer = at(root, "pre_tokenizer");
  bool byte_level = false;
  if (text_or_empty(at(pre_tokenizer, "type")) != "Sequence") {
    TESSERA_TRY(read_step(pre_tokenizer, "pre_tokenizer", byte_level, file.patterns));
  } else {
    const Json& steps = at(pre_tokenizer, "pretokenizers");
    if (!steps.is_array()) return corrupt("pre_tokenizer.pretokenizers must be an array");
    for (size_t i = 0; i < steps.size(); ++i)
      TESSERA_TRY(read_step(steps[i], fmt::format("pre_tokenizer.pretokenizers[{}]", i), byte_level,
                            file.patterns));
  }
  if (!byte_level) return unsupported("pre_tokenizer does not end in ByteLevel");
  return {};
}

Result<> check_rest(const Json& root) {
  const Json& normalizer = at(root, "normalizer");
  const bool empty_sequence = text_or_empty(at(normalizer, "type")) == "Sequence" &&
                              at(normalizer, "normalizers").is_array() &&
                              at(normalizer, "normalizers").empty();
  if (!normalizer.is_null() && !empty_sequence)
    return unsupported("normalizer is set, expected none or an empty Sequence");
  for (const char* key : {"truncation", "padding"})
    if (!at(root, key).is_null()) return unsupported(fmt::format("{} is set, expected null", key));
  for (const char* key : {"decoder", "post_processor"}) {
    const Json& part = at(root, key);
    if (!(part.is_null() && *key == 'p') && text_or_empty(at(part, "type")) != "ByteLevel")
      return unsupported(fmt::format("{}.type must be \"ByteLevel\"", key));
  }
  return {};
}

}  // namespace

Result<TokenizerFile> parse_tokenizer_file(std::string_view json) {
  Json root;
  try {  // the library throws; its message quotes what it read, which may be anything
    root = Json::parse(json);
  } catch (const Json::parse_error& error) {
    return corrupt(
        fmt::format("tokenizer.json is not valid JSON at byte {} of {}", error.byte, json.size()));
  } catch (const Json::exception&) {
    return corrupt("tokenizer.json is not valid JSON: a number is out of range");
  }
  if (!root.is_object()) return corrupt("tokenizer.json must hold an object");
  TokenizerFile file;
  const Json& model = at(root, "model");
  TESSERA_TRY(check_model(model));
  TESSERA_TRY(check_rest(root));
  TESSERA_TRY(read_pre_tokenizer(root, file));
  TESSERA_TRY(read_vocabulary(model, file));
  TESSERA_TRY(read_merges(model, file));
  TESSERA_TRY(read_added_tokens(root, file));
  return file;
}

}  // namespace tessera::text
