// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/utf8.h"

#include <gtest/gtest.h>

#include "tessera/text/byte_alphabet.h"

namespace tessera::text {
namespace {

TEST(Utf8Test, EveryCodePointRoundTrips) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string text;
    append_utf8(c, text);
    const Utf8Step step = next_utf8(text);
    ASSERT_EQ(step.kind, Utf8Kind::valid);
    ASSERT_EQ(step.length, text.size());
    ASSERT_EQ(decode_utf8(text), c);
  }
}

TEST(Utf8Test, ReplacesMaximalSubparts) {
  // The example of the Unicode standard, table 3-8.
  EXPECT_EQ(replace_invalid_utf8("a\xF1\x80\x80\xE1\x80\xC2"
                                 "b\x80"
                                 "c\x80\xBF"
                                 "d"),
            "a\uFFFD\uFFFD\uFFFD"
            "b\uFFFD"
            "c\uFFFD\uFFFD"
            "d");
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), "\uFFFD\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(replace_invalid_utf8("中\xE4\xB8"), "中\uFFFD");
}

TEST(Utf8Test, Validity) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("plain ascii of more than eight bytes, 中文 and 😀"));
  EXPECT_FALSE(is_utf8("plain ascii of more than\xFF eight bytes"));
  EXPECT_FALSE(is_utf8("cut off \xF0\x9F\x98"));
}

TEST(ByteAlphabetTest, EveryByte) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string bytes(1, static_cast<char>(byte));
    EXPECT_EQ(bytes_of_spelling(spelling_of_bytes(bytes)), bytes);
  }
  EXPECT_EQ(spelling_of_bytes(" \n"), "ĠĊ");
  EXPECT_EQ(bytes_of_spelling("｜"), std::nullopt);
  EXPECT_EQ(bytes_of_spelling(" "), std::nullopt);
  EXPECT_EQ(bytes_of_spelling("\xFF"), std::nullopt);
}

}  // namespace
}  // namespace tessera::text
