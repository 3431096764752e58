// SPDX-License-Identifier: Apache-2.0
// Every error that a tokenizer.json can cause.
#include "tessera/text/tokenizer_file.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tessera/text/tiny_tokenizer.h"
#include "tessera/text/tokenizer.h"

namespace tessera::text {
namespace {

using Json = nlohmann::json;

void expect_error(const std::function<void(Json&)>& change, ErrorCode code,
                  const std::string& message) {
  Json json = tiny_tokenizer();
  change(json);
  const auto result = Tokenizer::parse(json.dump());
  ASSERT_FALSE(result.ok()) << message;
  EXPECT_EQ(result.error().message, message);
  EXPECT_EQ(result.error().code, code) << message;
}

void expect_corrupt(const std::function<void(Json&)>& change, const std::string& message) {
  expect_error(change, ErrorCode::corrupt, message);
}
void expect_unsupported(const std::function<void(Json&)>& change, const std::string& message) {
  expect_error(change, ErrorCode::unsupported, message);
}

TEST(TokenizerFileTest, NotJson) {
  EXPECT_EQ(Tokenizer::parse("").error().message,
            "tokenizer.json is not valid JSON at byte 1 of 0");
  EXPECT_EQ(Tokenizer::parse("{\"a\": [1, 2").error().message,
            "tokenizer.json is not valid JSON at byte 12 of 11");
  EXPECT_EQ(Tokenizer::parse("[1e999]").error().message,
            "tokenizer.json is not valid JSON: a number is out of range");
  EXPECT_EQ(Tokenizer::parse("[]").error().message, "tokenizer.json must hold an object");
  EXPECT_EQ(Tokenizer::load("/nonexistent/tokenizer.json").error().message,
            "open /nonexistent/tokenizer.json: No such file or directory");
}

TEST(TokenizerFileTest, Model) {
  expect_corrupt([](Json& json) { json.erase("model"); }, "tokenizer.json has no object \"model\"");
  expect_unsupported([](Json& json) { json["model"]["type"] = "Unigram"; },
                     "model.type is \"Unigram\", expected \"BPE\"");
  expect_unsupported([](Json& json) { json["model"]["dropout"] = 0.1; },
                     "model.dropout is set, expected null");
  expect_unsupported([](Json& json) { json["model"]["byte_fallback"] = true; },
                     "model.byte_fallback is true, expected false");
  expect_corrupt([](Json& json) { json["model"]["vocab"] = 1; }, "model.vocab must be an object");
  expect_corrupt([](Json& json) { json["model"]["vocab"]["ab"] = -1; },
                 "model.vocab[\"ab\"]: the id must be an integer in [0, 2097152)");
  expect_corrupt([](Json& json) { json["model"]["vocab"]["ab"] = 2097152; },
                 "model.vocab[\"ab\"]: the id must be an integer in [0, 2097152)");
  expect_corrupt([](Json& json) { json["model"]["vocab"]["ab"] = 5; },
                 "id 5 is both \"ab\" and \"ą\"");
  expect_corrupt([](Json& json) { json["model"]["vocab"].erase("A"); },
                 "model.vocab lacks \"A\", which spells byte 65");
  expect_corrupt([](Json& json) { json["model"]["vocab"].erase("abc"); },
                 "model.vocab lacks \"abc\", which model.merges[2] makes");
}

TEST(TokenizerFileTest, Merges) {
  const auto set_merge = [](Json value) {
    return [value](Json& json) { json["model"]["merges"][1] = value; };
  };
  expect_corrupt([](Json& json) { json["model"]["merges"] = 1; }, "model.merges must be an array");
  for (const Json& bad : {Json("ab"), Json("a b c"), Json(1), Json({"a"}), Json({"a", 1})})
    expect_corrupt(set_merge(bad), "model.merges[1] must be two tokens");
  expect_corrupt(set_merge("b xy"), "model.merges[1]: no byte and no merge makes \"xy\"");
  expect_corrupt(set_merge("a b"), "merge 1 repeats merge 0");
  expect_unsupported(set_merge("ab cd"), "merge 1 joins what a later merge makes");
  expect_unsupported(
      [](Json& json) {
        json["model"]["merges"].push_back("a bc");  // "abc" is also "ab c"
      },
      "merges 2 and 6 make the same token");
  // Both forms of a merge are read.
  Json json = tiny_tokenizer();
  json["model"]["merges"][0] = {"a", "b"};
  EXPECT_TRUE(Tokenizer::parse(json.dump()).ok());
}

TEST(TokenizerFileTest, AddedTokens) {
  const auto set = [](const char* key, Json value) {
    return [key, value](Json& json) { json["added_tokens"][1][key] = value; };
  };
  expect_corrupt([](Json& json) { json["added_tokens"] = 1; }, "added_tokens must be an array");
  expect_corrupt(set("id", "x"), "added_tokens[1]: the id must be an integer in [0, 2097152)");
  expect_corrupt(set("content", ""), "added_tokens[1]: the content must be text, not empty");
  expect_unsupported(set("lstrip", true), "added_tokens[1]: lstrip is true, expected false");
  expect_corrupt(set("id", 7), "id 7 is both \"ć\" and \"<tag>\"");
  expect_corrupt(set("content", "<s>"), "added token \"<s>\" comes twice");
}

TEST(TokenizerFileTest, PreTokenizer) {
  const auto set = [](const char* path, Json value) {
    return [path, value](Json& json) { json[Json::json_pointer(path)] = value; };
  };
  const std::string split = "/pre_tokenizer/pretokenizers/0";
  const std::string bytes = "/pre_tokenizer/pretokenizers/1";
  expect_unsupported(set((split + "/pattern").c_str(), {{"String", "a"}}),
                     "pre_tokenizer.pretokenizers[0]: the pattern must be a Regex");
  expect_unsupported(
      set((split + "/behavior").c_str(), "Removed"),
      "pre_tokenizer.pretokenizers[0]: the behavior must be \"Isolated\", not inverted");
  expect_unsupported(set((bytes + "/use_regex").c_str(), true),
                     "pre_tokenizer.pretokenizers[1]: use_regex must be false");
  expect_unsupported(set((bytes + "/type").c_str(), "Digits"),
                     "pre_tokenizer.pretokenizers[1]: type \"Digits\", expected \"Split\" or "
                     "\"ByteLevel\"");
  expect_unsupported(set("/pre_tokenizer/pretokenizers", Json::array()),
                     "pre_tokenizer does not end in ByteLevel");
  expect_corrupt(set("/pre_tokenizer/pretokenizers", 1),
                 "pre_tokenizer.pretokenizers must be an array");
  expect_corrupt(set((split + "/pattern/Regex").c_str(), "(a"),
                 "pre-tokenizer pattern (a: missing closing parenthesis");
  expect_unsupported(set((split + "/pattern/Regex").c_str(), "[\\Sa]"),
                     "pre-tokenizer pattern [\\Sa]: \\S within a class");
}

TEST(TokenizerFileTest, TheRest) {
  expect_unsupported([](Json& json) { json["normalizer"] = {{"type", "NFC"}}; },
                     "normalizer is set, expected none or an empty Sequence");
  expect_unsupported([](Json& json) { json["truncation"] = 1; },
                     "truncation is set, expected null");
  expect_unsupported([](Json& json) { json["decoder"] = {{"type", "WordPiece"}}; },
                     "decoder.type must be \"ByteLevel\"");
}

}  // namespace
}  // namespace tessera::text
