// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/detokenizer.h"

#include <gtest/gtest.h>

#include "tessera/text/tiny_tokenizer.h"

namespace tessera::text {
namespace {

TEST(DetokenizerTest, HoldsBackPartsOfCharacters) {
  const Tokenizer tokenizer = Tokenizer::parse(tiny_tokenizer_json()).value();
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push('a'), "a");
  EXPECT_EQ(detokenizer.push(0xE4), "");
  EXPECT_EQ(detokenizer.push(0xB8), "");
  EXPECT_EQ(detokenizer.push(0xAD), "中");
  EXPECT_EQ(detokenizer.push(0xF0), "");
  EXPECT_EQ(detokenizer.push(0x9F), "");
  EXPECT_EQ(detokenizer.push('b'),
            "\xEF\xBF\xBD"
            "b");  // one for the maximal subpart
  EXPECT_EQ(detokenizer.push(0x80), "\xEF\xBF\xBD");
  EXPECT_EQ(detokenizer.push(0xC3), "");
  EXPECT_EQ(detokenizer.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(detokenizer.finish(), "");
  EXPECT_EQ(detokenizer.push('c'), "c");
}

TEST(DetokenizerTest, SkipsSpecialAndUnknownTokens) {
  const Tokenizer tokenizer = Tokenizer::parse(tiny_tokenizer_json()).value();
  const TokenId special = tokenizer.control_token("<s>").value();
  const TokenId tag = tokenizer.control_token("<tag>").value();
  Detokenizer skipping(tokenizer, true), keeping(tokenizer);
  EXPECT_EQ(skipping.push(special), "");
  EXPECT_EQ(skipping.push(tag), "<tag>");
  EXPECT_EQ(keeping.push(special), "<s>");
  EXPECT_EQ(keeping.push(-1), "");
  EXPECT_EQ(keeping.push(100000), "");
}

}  // namespace
}  // namespace tessera::text
