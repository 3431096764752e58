// SPDX-License-Identifier: Apache-2.0
#include "tests/tiny_model/tokenizer_trainer.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <set>

#include "tessera/text/byte_alphabet.h"
#include "tessera/text/chat_texts.h"
#include "tessera/text/pre_tokenizer.h"

namespace tessera::tiny_model {
namespace {

using Json = nlohmann::ordered_json;
using Pair = std::pair<std::string, std::string>;

/// How DeepSeek cuts text before byte-pair encoding.
const std::vector<std::string> kPatterns = {
    R"(\p{N}{1,3})", "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"};

constexpr std::array<std::string_view, 3> kFirst = {text::kBeginOfSentence, text::kEndOfSentence,
                                                    "<｜▁pad▁｜>"};
constexpr std::array<std::string_view, 12> kLast = {
    text::kUserToken,  text::kAssistantToken, text::kThinkOpen,
    text::kThinkClose, text::kDsml,           text::kLatestReminderToken,
    "<｜action｜>",    "<｜query｜>",         "<｜authority｜>",
    "<｜domain｜>",    "<｜title｜>",         "<｜read_url｜>"};

struct Word {
  std::vector<std::string> symbols;
  int64_t count = 0;
};

Result<std::vector<Word>> words_of(std::span<const std::string> texts) {
  TESSERA_ASSIGN(const auto cutter, text::PreTokenizer::compile(kPatterns));
  std::map<std::string, int64_t, std::less<>> counts;
  for (const std::string& text : texts)
    TESSERA_TRY(cutter.split(text, [&](std::string_view piece) { ++counts[std::string(piece)]; }));
  std::vector<Word> words;
  for (const auto& [piece, count] : counts) {
    Word word{.symbols = {}, .count = count};
    for (const char byte : piece) word.symbols.emplace_back(1, byte);
    words.push_back(std::move(word));
  }
  return words;
}

/// The most frequent pair whose merge is no symbol yet, the first in byte order of equals.
Pair best_pair(const std::vector<Word>& words, const std::set<std::string>& known) {
  std::map<Pair, int64_t> counts;
  for (const Word& word : words)
    for (size_t i = 0; i + 1 < word.symbols.size(); ++i)
      counts[{word.symbols[i], word.symbols[i + 1]}] += word.count;
  Pair best;
  int64_t most = 1;  // what occurs once is not worth a token
  for (const auto& [pair, count] : counts)
    if (count > most && !known.contains(pair.first + pair.second)) {
      best = pair;
      most = count;
    }
  return best;
}

void merge(Word& word, const Pair& pair) {
  for (size_t i = 0; i + 1 < word.symbols.size(); ++i)
    if (word.symbols[i] == pair.first && word.symbols[i + 1] == pair.second) {
      word.symbols[i] += pair.second;
      word.symbols.erase(word.symbols.begin() + static_cast<ptrdiff_t>(i) + 1);
    }
}

Json added_token(size_t id, std::string_view content, bool special) {
  return {{"id", id},        {"content", content},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", !special}, {"special", special}};
}

Json pre_tokenizer() {
  Json steps = Json::array();
  for (const std::string& pattern : kPatterns)
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pattern}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

}  // namespace

Result<Json> train_tokenizer(std::span<const std::string> texts, size_t size) {
  const size_t fixed = kFirst.size() + 256 + kLast.size();
  if (size < fixed)
    return invalid_argument(fmt::format("{} tokens hold no tokenizer, {} are needed", size, fixed));
  TESSERA_ASSIGN(std::vector<Word> words, words_of(texts));
  Json vocabulary = Json::object(), merges = Json::array(), added = Json::array();
  for (const std::string_view token : kFirst) {
    added.push_back(added_token(vocabulary.size(), token, true));
    vocabulary[std::string(token)] = vocabulary.size();
  }
  std::set<std::string> known;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string symbol(1, static_cast<char>(byte));
    known.insert(symbol);
    vocabulary[text::spelling_of_bytes(symbol)] = vocabulary.size();
  }
  while (vocabulary.size() + kLast.size() < size) {
    const Pair pair = best_pair(words, known);
    if (pair.first.empty())
      return invalid_argument(
          fmt::format("the texts give {} merges, {} are wanted", merges.size(), size - fixed));
    for (Word& word : words) merge(word, pair);
    known.insert(pair.first + pair.second);
    const std::string left = text::spelling_of_bytes(pair.first),
                      right = text::spelling_of_bytes(pair.second);
    merges.push_back(left + " " + right);
    vocabulary[left + right] = vocabulary.size();
  }
  for (size_t i = 0; i < kLast.size(); ++i)
    added.push_back(added_token(vocabulary.size() + i, kLast[i], false));
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", true},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  return Json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", added},
              {"normalizer", {{"type", "Sequence"}, {"normalizers", Json::array()}}},
              {"pre_tokenizer", pre_tokenizer()},
              {"post_processor", byte_level},
              {"decoder", byte_level},
              {"model",
               {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", false},
                {"byte_fallback", false},
                {"vocab", vocabulary},
                {"merges", merges}}}};
}

}  // namespace tessera::tiny_model
