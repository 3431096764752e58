// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/byte_pair_encoder.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace tessera::text {
namespace {

using Symbol = BytePairEncoder::Symbol;
using Merges = std::vector<std::pair<Symbol, Symbol>>;

std::vector<Symbol> encode(const BytePairEncoder& encoder, std::string_view bytes) {
  BytePairEncoder::Scratch scratch;
  encoder.encode(bytes, scratch);
  return scratch.symbols;
}

/// Random merges over few letters, so that symbols overlap in every way.
BytePairEncoder random_encoder(std::mt19937& random, size_t count, Symbol letters) {
  Merges merges;
  std::vector<std::string> strings(256);
  for (Symbol i = 0; i < 256; ++i) strings[i] = std::string(1, static_cast<char>(i));
  std::set<std::string> known(strings.begin(), strings.end());
  for (int tries = 0; merges.size() < count && tries < 10000; ++tries) {
    const auto pick = [&] {
      const auto index = static_cast<Symbol>(random() % (letters + merges.size()));
      return index < letters ? 'a' + index : 256 + index - letters;
    };
    const Symbol left = pick(), right = pick();
    const std::string joined = strings[left] + strings[right];
    if (joined.size() > 12 || !known.insert(joined).second) continue;
    merges.emplace_back(left, right);
    strings.push_back(joined);
  }
  return BytePairEncoder::create(merges).value();
}

TEST(BytePairEncoderTest, AgreesWithTheProcedure) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const Symbol letters = 1 + random() % 4;
    const BytePairEncoder encoder = random_encoder(random, 1 + random() % 60, letters);
    for (int i = 0; i < 50; ++i) {
      std::string text(random() % 40, ' ');
      for (char& c : text) c = static_cast<char>('a' + random() % letters);
      ASSERT_EQ(encode(encoder, text), encoder.encode_by_merges(text)) << text;
    }
  }
}

TEST(BytePairEncoderTest, UnreachableSymbolsDoNotAppear) {
  // "abc" is made of "ab" and "c", but "bc" is always joined first.
  const auto encoder = BytePairEncoder::create(Merges{{'b', 'c'}, {'a', 'b'}, {257, 'c'}}).value();
  EXPECT_EQ(encode(encoder, "abc"), (std::vector<Symbol>{'a', 256}));
  EXPECT_EQ(encoder.encode_by_merges("abc"), (std::vector<Symbol>{'a', 256}));
  EXPECT_EQ(encoder.bytes(258), "abc");
}

TEST(BytePairEncoderTest, LongMonotonousPieces) {
  Merges merges = {{'a', 'a'}};
  for (Symbol i = 0; i < 10; ++i) merges.emplace_back(256 + i, 256 + i);
  const auto encoder = BytePairEncoder::create(merges).value();
  for (const size_t size : {1u, 2u, 1023u, 1024u, 100001u}) {
    const std::string text(size, 'a');
    EXPECT_EQ(encode(encoder, text), encoder.encode_by_merges(text)) << size;
  }
}

TEST(BytePairEncoderTest, LimitsOfSize) {
  Merges merges = {{'a', 'a'}};
  for (Symbol i = 0; i < 16; ++i) merges.emplace_back(256 + i, 256 + i);
  EXPECT_EQ(BytePairEncoder::create(merges).error().message,
            "merge 16 makes a token above 65536 bytes");
  EXPECT_EQ(BytePairEncoder::create(Merges(1u << 21, {'a', 'a'})).error().message,
            "2097152 merges, at most 2096895");
}

}  // namespace
}  // namespace tessera::text
