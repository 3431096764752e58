// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/tokenizer.h"

#include <gtest/gtest.h>

#include "tessera/text/tiny_tokenizer.h"

namespace tessera::text {
namespace {

using Ids = std::vector<TokenId>;

class TokenizerTest : public testing::Test {
 protected:
  Ids encode(std::string_view text, const EncodeOptions& options = {}) const {
    return tokenizer_.encode(text, options).value();
  }
  Tokenizer tokenizer_ = Tokenizer::parse(tiny_tokenizer_json()).value();
};

TEST_F(TokenizerTest, MergesByRank) {
  EXPECT_EQ(encode(""), Ids{});
  EXPECT_EQ(encode("x"), Ids{'x'});
  EXPECT_EQ(encode("ab"), Ids{256});
  EXPECT_EQ(encode("abc"), Ids{258});
  EXPECT_EQ(encode("abcd"), Ids{260});
  EXPECT_EQ(encode("bcd"), (Ids{257, 'd'}));  // "bc" ranks before "cd"
  EXPECT_EQ(encode("xabcdcd"), (Ids{'x', 260, 259}));
  EXPECT_EQ(encode(" a"), Ids{261});
  EXPECT_EQ(encode(" ab"), (Ids{' ', 256}));  // "ab" ranks before " a"
}

TEST_F(TokenizerTest, PiecesAreNotJoined) {
  EXPECT_EQ(encode("a1b"), (Ids{'a', '1', 'b'}));
  EXPECT_EQ(encode("a  a"), (Ids{'a', ' ', 261}));  // the look-ahead leaves one space to the word
  EXPECT_EQ(encode("a  "), (Ids{'a', ' ', ' '}));
}

TEST_F(TokenizerTest, AddedTokens) {
  EXPECT_EQ(encode("a<s>b<tag>"), (Ids{'a', 262, 'b', 263}));
  EXPECT_EQ(encode("<<s>"), (Ids{'<', 262}));
  EXPECT_EQ(encode("<s>", {.control_tokens = false}), (Ids{'<', 's', '>'}));
  const std::vector<TextRange> literal = {{0, 3}};
  EXPECT_EQ(encode("<s><s>", {.literal = literal}), (Ids{'<', 's', '>', 262}));
  EXPECT_EQ(tokenizer_.control_token("<s>"), 262);
  EXPECT_EQ(tokenizer_.control_token("<x>"), std::nullopt);
  EXPECT_TRUE(tokenizer_.is_special(262));
  EXPECT_FALSE(tokenizer_.is_special(263));
  EXPECT_FALSE(tokenizer_.is_special(-1));
  EXPECT_FALSE(tokenizer_.is_special(264));
  EXPECT_EQ(tokenizer_.size(), 264);
}

TEST_F(TokenizerTest, Decode) {
  EXPECT_EQ(tokenizer_.decode(Ids{262, 260, 263}), "<s>abcd<tag>");
  EXPECT_EQ(tokenizer_.decode(Ids{262, 260, 263}, true), "abcd<tag>");
  EXPECT_EQ(tokenizer_.decode(Ids{-5, 'a', 99999}), "a");
  EXPECT_EQ(tokenizer_.decode(Ids{0xE4, 0xB8, 'a', 0xFF}),
            "\xEF\xBF\xBD"
            "a"
            "\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer_.token_bytes(0xE4), "\xE4");
}

TEST_F(TokenizerTest, InvalidUtf8BecomesReplacementCharacters) {
  const Ids replacement = {0xEF, 0xBF, 0xBD};
  EXPECT_EQ(encode("\xFF"), replacement);
  EXPECT_EQ(encode("\xE4\xB8"), replacement);         // one for the maximal subpart
  EXPECT_EQ(encode("\xED\xA0\x80").size(), 9u);       // a surrogate: three
  EXPECT_EQ(encode("\xF4\x90\x80\x80").size(), 12u);  // above U+10FFFF: four
}

TEST_F(TokenizerTest, PatternsThatGiveUpAreErrors) {
  auto json = tiny_tokenizer();
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a|aa)+$";
  const Tokenizer slow = Tokenizer::parse(json.dump()).value();
  const auto result = slow.encode(std::string(60, 'a') + "b");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message,
            "pre-tokenizer pattern (a|aa)+$ gives up: match limit exceeded");
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "x*";  // matches nothing at all
  const Tokenizer empty = Tokenizer::parse(json.dump()).value();
  EXPECT_EQ(empty.encode("ab中xb").value(), (Ids{'a', 'b', 0xE4, 0xB8, 0xAD, 'x', 'b'}));
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(?=a\\Kb)a|(?=ab\\K)";
  const auto backwards = Tokenizer::parse(json.dump());
  if (backwards.ok()) {  // PCRE2 before 10.38 takes \K in look-aheads
    EXPECT_FALSE(backwards->encode("ab").ok());
  }
}

}  // namespace
}  // namespace tessera::text
