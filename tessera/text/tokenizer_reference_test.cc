// SPDX-License-Identifier: Apache-2.0
// The real tokenizer.json against ids of the reference library.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "tessera/base/testing/reference_data.h"
#include "tessera/text/byte_pair_encoder.h"
#include "tessera/text/detokenizer.h"
#include "tessera/text/tokenizer.h"
#include "tessera/text/utf8.h"

namespace tessera::text {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<TokenId>;

class TokenizerReferenceTest : public testing::Test {
 protected:
  void SetUp() override {
    TESSERA_SKIP_WITHOUT_REFERENCE("tokenizer/tokenizer.json");
    static const Tokenizer loaded =
        Tokenizer::load(reference_folder() / "tokenizer/tokenizer.json").value();
    tokenizer_ = &loaded;
  }
  const Tokenizer* tokenizer_ = nullptr;
};

TEST_F(TokenizerReferenceTest, Vectors) {
  std::istringstream lines(read_reference("tokenizer/vectors.jsonl"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json vector = Json::parse(line);
    const auto text = vector["text"].get<std::string>();
    const auto ids = vector["ids"].get<Ids>();
    EXPECT_EQ(tokenizer_->encode(text).value(), ids) << line;
    EXPECT_EQ(tokenizer_->decode(ids), text);
    EXPECT_EQ(tokenizer_->decode(ids, true), vector["decoded_skip_special"].get<std::string>());
    Detokenizer detokenizer(*tokenizer_);
    std::string streamed;
    for (const TokenId id : ids) {
      const std::string part = detokenizer.push(id);
      EXPECT_TRUE(is_utf8(part));
      streamed += part;
    }
    EXPECT_EQ(streamed + detokenizer.finish(), text);
  }
  EXPECT_GE(count, 200);
  RecordProperty("vectors", count);
}

TEST_F(TokenizerReferenceTest, EveryAddedToken) {
  std::istringstream lines(read_reference("tokenizer/tokenizer-added-tokens.tsv"));
  std::string line;
  std::getline(lines, line);
  int count = 0;
  for (; std::getline(lines, line); ++count) {
    std::istringstream fields(line);
    std::string id, content, special;
    std::getline(fields, id, '\t');
    std::getline(fields, content, '\t');
    std::getline(fields, special, '\t');
    const TokenId token = std::stoi(id);
    EXPECT_EQ(tokenizer_->encode(content).value(), Ids{token}) << line;
    EXPECT_EQ(tokenizer_->control_token(content), token);
    EXPECT_EQ(tokenizer_->token_bytes(token), content);
    EXPECT_EQ(tokenizer_->is_special(token), special == "1");
    const auto plain = tokenizer_->encode(content, {.control_tokens = false}).value();
    EXPECT_GT(plain.size(), 1u) << line;
    EXPECT_EQ(tokenizer_->decode(plain), content);
  }
  EXPECT_EQ(count, 1283);
  EXPECT_EQ(tokenizer_->size(), 129280);
}

TEST_F(TokenizerReferenceTest, TokensOfTheVocabularyEncodeToThemselves) {
  // Not as text (patterns may cut them), but the bytes of a token are always given back.
  for (TokenId id = 0; id < tokenizer_->size(); id += 7) {
    const std::string_view bytes = tokenizer_->token_bytes(id);
    if (is_utf8(bytes)) {
      EXPECT_EQ(tokenizer_->decode(tokenizer_->encode(bytes).value()), bytes);
    }
  }
}

TEST_F(TokenizerReferenceTest, LiteralRangesKeepControlTokensText) {
  const std::string text = "<｜User｜>a <｜User｜> b<｜Assistant｜>";
  const size_t second = text.find("<｜User｜>", 5);
  const std::vector<TextRange> literal = {{second, second + 1}};
  const Ids ids = tokenizer_->encode(text, {.literal = literal}).value();
  EXPECT_EQ(ids.front(), 128803);
  EXPECT_EQ(ids.back(), 128804);
  EXPECT_EQ(std::ranges::count(ids, 128803), 1);
  EXPECT_EQ(tokenizer_->decode(ids), text);
  // The plain part is encoded as one: "!\n\n" stays one piece across the border of a range.
  const std::string joined = "Hi!\n\nThere";
  const std::vector<TextRange> border = {{0, 3}};
  EXPECT_EQ(tokenizer_->encode(joined, {.literal = border}).value(),
            tokenizer_->encode(joined).value());
}

TEST_F(TokenizerReferenceTest, InvalidUtf8IsReplaced) {
  EXPECT_EQ(tokenizer_->encode("a\xFF\xE4\xB8z").value(),
            tokenizer_->encode("a\xEF\xBF\xBD\xEF\xBF\xBDz").value());
  // Ranges move with the text, which grows.
  const std::string text = "\xFF<think>\xFF<think>";
  const std::vector<TextRange> literal = {{0, 8}};
  const Ids ids = tokenizer_->encode(text, {.literal = literal}).value();
  EXPECT_EQ(std::ranges::count(ids, 128821), 1);
  EXPECT_EQ(ids.back(), 128821);
}

TEST_F(TokenizerReferenceTest, MonotonousTextsTakeLinearTime) {
  for (const std::string_view unit :
       {"a", " ", "\n", "!", "1", "中", "\xFF", "Ab", " a", "\xCC\x81"}) {
    std::string text;
    while (text.size() < 500'000) text += unit;
    const Ids ids = tokenizer_->encode(text).value();
    if (is_utf8(text)) {
      EXPECT_EQ(tokenizer_->decode(ids), text) << unit;
    }
    EXPECT_TRUE(tokenizer_->encode(text + "x").ok());
  }
}

TEST_F(TokenizerReferenceTest, CutOffFilesAreErrors) {
  const std::string json = read_reference("tokenizer/tokenizer.json");
  for (const double part : {0.0, 0.001, 0.1, 0.5, 0.99, 0.999999}) {
    const auto length = static_cast<size_t>(part * static_cast<double>(json.size()));
    const auto result = Tokenizer::parse(std::string_view(json).substr(0, length));
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::corrupt);
    EXPECT_TRUE(result.error().message.starts_with("tokenizer.json is not valid JSON at byte "))
        << result.error().message;
  }
}

}  // namespace
}  // namespace tessera::text
