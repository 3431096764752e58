// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/hash.h"

#include <gtest/gtest.h>

#include <string>
#include <unordered_set>

namespace tessera {
namespace {

TEST(Hash,
     KnownValues) {  // published XXH3 128 vectors: the format of caches on disk depends on them
  EXPECT_EQ(hash128("").hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hash128("abc").hex(), "06b05ab6733a618578af5f94892f3950");
}

TEST(Hash, IncrementalEqualsWhole) {
  std::string text(10'000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31);
  Hasher hasher;
  for (size_t at = 0; at < text.size(); at += 777)
    hasher.add_bytes(
        std::as_bytes(std::span(text).subspan(at, std::min<size_t>(777, text.size() - at))));
  EXPECT_EQ(hasher.digest(), hash128(text));
  EXPECT_EQ(hasher.digest(), hash128(text));  // asking does not change it
}

TEST(Hash, FieldsDoNotRunIntoEachOther) {
  EXPECT_NE(Hasher().add("ab").add("c").digest(), Hasher().add("a").add("bc").digest());
  EXPECT_NE(Hasher().add(1).digest(), Hasher().add(int64_t{1}).digest());
  EXPECT_NE(Hasher().add("").digest(), Hasher().digest());
  EXPECT_EQ(Hasher().add(hash128("a")).digest(), Hasher().add(hash128("a")).digest());
}

TEST(Hash, WorksAsAKey) {
  std::unordered_set<Hash128> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(Hasher().add(i).digest());
  EXPECT_EQ(seen.size(), 1000u);
  EXPECT_EQ(hash128("x").hex().size(), 32u);
  EXPECT_EQ((Hash128{1, 0}).hex(), "00000000000000000000000000000001");
}

TEST(Hash, MovedHasherGoesOn) {
  Hasher first;
  first.add("a");
  Hasher second = std::move(first);
  EXPECT_EQ(second.add("b").digest(), Hasher().add("a").add("b").digest());
}

}  // namespace
}  // namespace tessera
