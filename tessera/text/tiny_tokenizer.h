// SPDX-License-Identifier: Apache-2.0
// For tests: a tokenizer.json with the 256 bytes (id = byte), a few merges and two added tokens.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tessera/text/byte_alphabet.h"

namespace tessera::text {

inline nlohmann::json tiny_tokenizer() {
  using Json = nlohmann::json;
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    vocabulary[spelling_of_bytes({&c, 1})] = byte;
  }
  Json merges = Json::array();
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"a", "b"}, {"b", "c"}, {"ab", "c"}, {"c", "d"}, {"abc", "d"}, {"Ġ", "a"}};
  for (const auto& [left, right] : pairs) {
    vocabulary[left + right] = vocabulary.size();
    merges.push_back(left + " " + right);
  }
  const Json added = {
      {{"id", 262}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
      {{"id", 263}, {"content", "<tag>"}, {"special", false}, {"normalized", true}}};
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", R"( ?\p{L}+|\s+(?!\S)|\s+)"}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}}};
}

inline std::string tiny_tokenizer_json() { return tiny_tokenizer().dump(); }

}  // namespace tessera::text
