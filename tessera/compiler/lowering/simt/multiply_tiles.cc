// SPDX-License-Identifier: Apache-2.0
// Products of tiles by wgmma, from workgroup memory to the registers of all warpgroups.
#include "llvm/Support/MathExtras.h"
#include "tessera/compiler/lowering/lanes/elementwise.h"
#include "tessera/compiler/lowering/simt/hopper.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

constexpr int64_t kStep = 16;  // of K, of the instruction
constexpr int64_t kMostColumns = 256;
constexpr int kGroupBits = 7;

/// What steps of K add to a descriptor whose rows run along K.
SmallVector<int64_t> alongColumns(const StagedShape& shape, int64_t k) {
  SmallVector<int64_t> steps;
  for (int64_t at = 0; at < k; at += kStep)
    steps.push_back(
        (at / StagedShape::kPanel * shape.panelBytes() + 2 * (at % StagedShape::kPanel)) / 16);
  return steps;
}
/// And to one whose columns do.
SmallVector<int64_t> alongRows(int64_t k) {
  SmallVector<int64_t> steps;
  for (int64_t at = 0; at < k; at += kStep) steps.push_back(at * StagedShape::kRowBytes / 16);
  return steps;
}

}  // namespace

/// The part of the index along a dimension that the number of the warpgroup gives.
Value KernelLowering::groupIndex(const Layout& layout, const lang::TileShape& shape, int dim) {
  Value index = e_.i32(0);
  const int first = firstBit(shape, dim), end = first + bitCount(shape, dim);
  for (int t = kGroupBits; t < static_cast<int>(layout.threads.size()); ++t) {
    const int bit = layout.threads[t];
    if (bit < first || bit >= end) continue;
    index = e_.ori(index, e_.shl(e_.andi(e_.shr(warpgroup_, t - kGroupBits), 1), bit - first));
  }
  return index;
}

/// An operand where products find it; if its tile has no place of its own, in one for this product.
KernelLowering::Staged KernelLowering::stagedOf(Value operand) {
  const StagedPart part = layouts_.products().part(operand);
  const auto found = staged_.find(part.tile);
  Staged place;
  if (found != staged_.end()) {
    place = found->second;
  } else {
    place = reserve(part.tile, 1);
    store(get(part.tile), shapeOf(part.tile), place);
  }
  if (const int64_t bytes = part.bytes(place.shape); bytes != 0)
    place.address = e_.add(place.address, e_.i32(bytes));
  return place;
}

/// Whether a tile without a layout of its own can be made here, of what is known by now.
bool KernelLowering::canBeMade(Value tile) {
  if (isScalar(tile)) return scalars_.contains(tile);
  if (const auto known = tiles_.find(tile); known != tiles_.end() && !known->second.empty())
    return true;
  return layouts_.of(tile) == nullptr && tile.getDefiningOp() != nullptr &&
         llvm::all_of(tile.getDefiningOp()->getOperands(),
                      [&](Value operand) { return canBeMade(operand); });
}

/// While sums are under way: what they are going to be combined with, such as masks that rest on
/// numbers in memory.
void KernelLowering::makeForConsumers(Value sums, const Layout& layout) {
  for (mlir::Operation* user : sums.getUsers()) {
    if (!isElementwise(user) || user->getBlock() != sums.getParentBlock()) continue;
    for (Value operand : user->getOperands())
      if (operand != sums && !isScalar(operand) && layouts_.of(operand) == nullptr &&
          canBeMade(operand))
        get(operand, layout);
    makeForConsumers(user->getResult(0), layout);
  }
}

void KernelLowering::lowerProduct(const TileProduct& product) {
  Hopper hopper(e_.builder);
  DotOp dot = product.dot;
  const Value result = dot.getResult();
  const lang::TileShape out = shapeOf(result);
  const Layout& layout = *layouts_.of(result);
  const bool adds = !isZero(dot.getAcc());
  const Registers before = adds ? get(dot.getAcc(), layout) : Registers();
  const Staged a = stagedOf(dot.getA()), b = stagedOf(dot.getB());
  if (copiesPending_) awaitCopies();
  shared_.beforeRead(e_.loc, {a.array, b.array});

  // Blocks of the instruction's size, of rows and columns that a warpgroup has in registers.
  int64_t columns = 8;  // in a row, of a warpgroup
  for (int bit = 3; bit < bitCount(out, 1) && layout.inRegister(bit); ++bit) columns *= 2;
  const int64_t width = std::min(columns, kMostColumns);
  SmallVector<int64_t> rowBlocks = {0};
  for (int bit = 6; bit < bitCount(out, 0); ++bit)
    if (layout.inRegister(bitCount(out, 1) + bit)) {
      const SmallVector<int64_t> lower = rowBlocks;
      for (int64_t row : lower) rowBlocks.push_back(row | int64_t{1} << bit);
    }
  const Value row0 = groupIndex(layout, out, 0), column0 = groupIndex(layout, out, 1);
  const auto panelOf = [&](Value column, const StagedShape& shape) {
    return e_.mul(e_.shr(column, 6), e_.i32(shape.panelBytes()));
  };
  const Hopper::Operand along{{}, alongColumns(a.shape, product.k)};
  Hopper::Sums all;
  SmallVector<int64_t>
      numbers;  // of the layout's registers, in the order of the instructions' sums
  for (int64_t row : rowBlocks)
    for (int64_t column = 0; column < columns; column += width) {
      Hopper::Operand left = along, right;
      const Value firstRow = e_.shl(e_.add(row0, e_.i32(row)), 7);
      left.descriptor = hopper.descriptor(e_.loc, e_.add(a.address, firstRow));
      const Value firstColumn = e_.add(column0, e_.i32(column));
      if (product.bIsKn) {
        const Value inPanel = e_.shl(e_.andi(firstColumn, StagedShape::kPanel - 1), 1);
        right.descriptor = hopper.turnedDescriptor(
            e_.loc, e_.add(e_.add(b.address, panelOf(firstColumn, b.shape)), inPanel),
            b.shape.panelBytes());
        right.steps = alongRows(product.k);
      } else {
        right.descriptor = hopper.descriptor(e_.loc, e_.add(b.address, e_.shl(firstColumn, 7)));
        right.steps = alongColumns(b.shape, product.k);
      }
      Hopper::Sums sums;
      for (int64_t i = 0; i < width / 2; ++i) {
        const int64_t r = (row + 8 * ((i >> 1) & 1)) & (out[0] - 1);
        const int64_t c = column + 8 * (i >> 2) + (i & 1);
        numbers.push_back(layout.registerOf(r << bitCount(out, 1) | c));
        if (adds) sums.push_back(before.values[numbers.back()]);
      }
      llvm::append_range(all, hopper.begin(e_.loc, width, left, right, product.bIsKn, sums));
    }
  const auto groups = static_cast<int64_t>(rowBlocks.size()) * (columns / width);
  underWay_.push_back({result, layout, numbers, all, groups, a.array, b.array});
  for (const Array& array : {a.array, b.array}) shared_.hold(array);
  advanceIfDue();
  makeForConsumers(result, layout);
}

void KernelLowering::finishProduct(const UnderWay& product, int64_t later) {
  const auto all = Hopper(e_.builder).finish(e_.loc, product.sums, later);
  for (const Array& array : {product.a, product.b}) shared_.endHolding(array);
  const auto count = static_cast<size_t>(product.layout.registerCount());
  Registers sums{product.layout, SmallVector<Value>(count)};
  for (auto [number, sum] : llvm::zip(product.numbers, all)) sums.values[number] = sum;
  set(product.tile, sums);
}

void KernelLowering::finishProductsFor(mlir::Operation* op) {
  if (underWay_.empty()) return;
  if (op->getNumRegions() != 0) return finishProducts();
  for (size_t i = 0; i < underWay_.size();) {
    if (!llvm::is_contained(op->getOperands(), underWay_[i].tile)) {
      ++i;
      continue;
    }
    int64_t later = 0;
    for (const UnderWay& other : llvm::drop_begin(underWay_, i + 1)) later += other.groups;
    finishProduct(underWay_[i], later);
    underWay_.erase(underWay_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void KernelLowering::finishProducts() {
  for (const UnderWay& product : std::exchange(underWay_, {})) finishProduct(product, 0);
}

}  // namespace tessera::compiler::simt
