// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/layout.h"

#include <gtest/gtest.h>

#include <set>

#include "tessera/compiler/lowering/simt/tile_products.h"

namespace tessera::compiler::simt {
namespace {

using lang::TileShape;

/// Position of a register of a thread, bit by bit.
int64_t positionOf(const Layout& layout, int64_t thread, int64_t number) {
  int64_t position = layout.registerOffset(number);
  for (size_t t = 0; t < layout.threads.size(); ++t)
    if (layout.threads[t] != Layout::kCopies && ((thread >> t) & 1))
      position |= int64_t{1} << layout.threads[t];
  return position;
}

/// Every element is held, and only by threads that differ in bits that hold copies.
void expectCovers(const Layout& layout, const TileShape& shape) {
  std::set<int64_t> held;
  for (int64_t thread = 0; thread < int64_t{1} << layout.threads.size(); ++thread)
    for (int64_t r = 0; r < layout.registerCount(); ++r) {
      const int64_t position = positionOf(layout, thread, r);
      ASSERT_LT(position, shape.numel());
      held.insert(position);
    }
  EXPECT_EQ(static_cast<int64_t>(held.size()), shape.numel()) << layout.toString();
}

TEST(Layout, BlockedPutsNeighboursIntoAThread) {
  const Layout layout = blockedLayout({2, 1024}, 7, 3);
  EXPECT_EQ(layout.toString(), "threads [3 4 5 6 7 8 9] registers [0 1 2 10]");
  EXPECT_EQ(layout.consecutive(), 3);
}

TEST(Layout, SmallTilesGiveUpWidthBeforeThreads) {
  EXPECT_EQ(blockedLayout({256}, 7, 3).toString(), "threads [1 2 3 4 5 6 7] registers [0]");
  EXPECT_EQ(blockedLayout({8}, 5, 3).toString(), "threads [0 1 2 - -] registers []");
  EXPECT_EQ(blockedLayout({}, 5, 3).toString(), "threads [- - - - -] registers []");
}

TEST(Layout, RowsLieInWarpsWhereRegistersMakeWay) {
  EXPECT_EQ(blockedLayout({8, 512}, 8, 3).withRowsInWarps(9, 5).toString(),
            "threads [3 4 5 6 7 11 9 10] registers [0 1 2 8]");
  const Layout wide = blockedLayout({2, 2048}, 8, 3);
  EXPECT_EQ(wide.withRowsInWarps(11, 5).toString(), wide.toString());
}

TEST(Layout, BothCodesOfAByteStayTogether) {
  EXPECT_EQ(blockedLayout({8}, 5, 5, 1).toString(), "threads [1 2 - - -] registers [0]");
}

TEST(Layout, CoversEveryElement) {
  for (const TileShape& shape : {TileShape{1}, TileShape{64}, TileShape{8, 16},
                                 TileShape{4, 2, 256}, TileShape{128, 1}, TileShape{64, 64}})
    for (int threadBits : {5, 7, 8}) {
      for (int vector : {0, 2, 4}) expectCovers(blockedLayout(shape, threadBits, vector), shape);
      if (shape.rank() == 2) expectCovers(outerProductLayout(shape, threadBits), shape);
    }
}

TEST(Layout, ReductionLeavesCopiesWhereItsAxisWas) {
  const TileShape shape = {8, 128};
  const Layout layout = blockedLayout(shape, 6, 4);  // a row in 8 threads
  EXPECT_EQ(layout.renamed(Reduced{shape, 1}).toString(), "threads [- - - 0 1 2] registers []");
  EXPECT_EQ(layout.renamed(Reduced{shape, 0}).toString(),
            "threads [4 5 6 - - -] registers [0 1 2 3]");
}

TEST(Layout, TransposeRenamesBits) {
  const TileShape shape = {4, 8};
  const Layout layout = blockedLayout(shape, 5, 0);
  const Layout turned = layout.renamed(Transposed{shape, {1, 0}});
  EXPECT_EQ(turned.toString(), "threads [2 3 4 0 1] registers []");
  EXPECT_EQ(turned.renamed(Transposed{{8, 4}, {1, 0}}), layout);
}

TEST(Layout, BroadcastSourceDropsStretchedBits) {
  const Layout layout = blockedLayout({8, 128}, 6, 4);
  EXPECT_EQ(layout.renamed(Stretched{{8, 1}, {8, 128}}).toString(),
            "threads [- - - 0 1 2] registers []");
  EXPECT_EQ(layout.renamed(Stretched{{128}, {8, 128}}).toString(),
            "threads [4 5 6 - - -] registers [0 1 2 3]");
}

TEST(Layout, ScalesFollowTheirBlocks) {
  const Layout layout = blockedLayout({4, 256}, 6, 4);
  EXPECT_EQ(layout.renamed(Grouped{{4, 256}, {4, 8}}).toString(),
            "threads [- 0 1 2 3 4] registers []");
  EXPECT_EQ(layout.renamed(Grouped{{4, 256}, {1, 2}}).toString(),
            "threads [- - - 0 - -] registers []");
  EXPECT_EQ((Grouped{{4, 256}, {4, 8}}.position(2 * 256 + 70)), 2 * 8 + 2);
}

TEST(Layout, ProductsShareColumnsBetweenWarpgroupsWhereRowsAreFew) {
  EXPECT_EQ(productLayout(64, 512, 8).toString(),
            "threads [1 2 9 10 11 13 14 8] registers [0 3 4 5 6 7 12]");
  EXPECT_EQ(productLayout(128, 256, 8).toString(),
            "threads [1 2 8 9 10 12 13 14] registers [0 3 4 5 6 7 11]");
  EXPECT_EQ(productLayout(8, 16, 8).toString(), "threads [1 2 4 5 6 - - 3] registers [0]");
  for (const TileShape& shape :
       {TileShape{4, 8}, TileShape{16, 64}, TileShape{64, 64}, TileShape{256, 64}})
    for (int threadBits : {7, 8})
      expectCovers(productLayout(shape[0], shape[1], threadBits), shape);
}

TEST(Layout, CopiesToPanelsTakeRowsOf128Bytes) {
  EXPECT_EQ(panelLayout({64, 512}, 8).toString(),
            "threads [3 4 5 9 10 11 12 13] registers [0 1 2 6 7 8 14]");
  for (const TileShape& shape : {TileShape{8, 16}, TileShape{64, 64}, TileShape{64, 512}})
    expectCovers(panelLayout(shape, 8), shape);
}

}  // namespace
}  // namespace tessera::compiler::simt
