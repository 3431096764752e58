// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/lane_product.h"

#include <gtest/gtest.h>

#include <vector>

namespace tessera::compiler::simt {
namespace {

constexpr int kLaneBits = 3, kMostThreadBits = 7;

LaneProduct product(int64_t m, int64_t n, int64_t k) {
  return {{m, k}, {n, k}, kLaneBits, kMostThreadBits};
}

/// The position of a thread's register.
int64_t position(const Layout& layout, int64_t thread, int64_t number) {
  int64_t at = layout.registerOffset(number);
  for (size_t bit = 0; bit < layout.threads.size(); ++bit)
    if (layout.threads[bit] != Layout::kCopies && ((thread >> bit) & 1))
      at |= int64_t{1} << layout.threads[bit];
  return at;
}

TEST(LaneProductTest, ThreadsHoldEightRowsOfFourColumns) {
  const LaneProduct p = product(32, 32, 16);
  ASSERT_EQ(p.threadBits(), 5);
  EXPECT_EQ(p.sums(5).toString(), "threads [0 1 2 8 9] registers [3 4 5 6 7]");
  EXPECT_EQ(p.left(5).toString(), "threads [4 5 6 7 8] registers [0 1 2 3]");
  EXPECT_EQ(p.right(5).toString(), "threads [4 5 6 - -] registers [0 1 2 3 7 8]");
}

/// Every sum is somewhere, once; its row of a lies with the neighbour who is asked, its row of b in
/// the thread.
TEST(LaneProductTest, NeighboursHaveWhatSumsNeed) {
  const std::vector<LaneProduct> products = {product(32, 32, 16), product(8, 32, 8),
                                             product(16, 8, 16),  product(2, 16, 8),
                                             product(1, 8, 4),    product(128, 128, 8)};
  for (const LaneProduct& p : products) {
    const int64_t m = p.a[0], n = p.b[0], k = p.a[1];
    SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
    const int bits = p.threadBits();
    const Layout sums = p.sums(bits), left = p.left(bits), right = p.right(bits);
    const int64_t exchanged = (int64_t{1} << p.exchangedRowBits()) - 1;
    std::vector<bool> found(static_cast<size_t>(m * n));
    for (int64_t thread = 0; thread < int64_t{1} << bits; ++thread)
      for (int64_t r = 0; r < sums.registerCount(); ++r) {
        const int64_t at = position(sums, thread, r), row = at / n, column = at % n;
        found[static_cast<size_t>(at)] = true;
        const int64_t own = sums.registerOffset(r);
        const int64_t lane = (own / n) & exchanged, upper = (own / n) & ~exchanged;
        const int64_t neighbour = (thread & -(int64_t{1} << kLaneBits)) | lane;
        const int64_t step = k - 1;
        EXPECT_EQ(position(left, neighbour, left.registerOf(upper * k + step)), row * k + step);
        EXPECT_EQ(position(right, thread, right.registerOf(own % n * k + step)), column * k + step);
      }
    EXPECT_EQ(std::count(found.begin(), found.end(), true), m * n);
    if (m * n >= int64_t{1} << bits) {
      EXPECT_EQ(sums.registerCount() << bits, m * n) << "no sum twice";
    }
  }
}

}  // namespace
}  // namespace tessera::compiler::simt
