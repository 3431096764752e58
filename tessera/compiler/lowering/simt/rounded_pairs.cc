// SPDX-License-Identifier: Apache-2.0
// Products of numbers that are bf16 already, rounded to bf16: two at once. One rounding of the
// exact product gives the same bits as multiplying in f32, which is exact, and rounding then. Sums
// of such numbers along rows are products with ones.
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"
#include "tessera/compiler/lowering/simt/mma_sync.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Operation;
using mlir::Value;
using namespace tile;  // the dialect's operations

namespace {

/// The f32 tile that is rounded to bf16 and widened again; null: the tile is made otherwise.
Value roundedSource(Value tile) {
  auto widen = tile.getDefiningOp<CastOp>();
  auto narrow = widen ? widen.getX().getDefiningOp<CastOp>() : CastOp();
  const bool rounds = narrow && dtypeOf(tile) == DType::f32 &&
                      dtypeOf(narrow.getResult()) == DType::bf16 &&
                      dtypeOf(narrow.getX()) == DType::f32;
  return rounds ? narrow.getX() : Value();
}

/// Whether all numbers of an f32 tile are bf16 numbers.
bool isNarrow(Value tile) {
  Operation* op = tile.getDefiningOp();
  if (op == nullptr || dtypeOf(tile) != DType::f32) return false;
  if (auto cast = llvm::dyn_cast<CastOp>(op)) return dtypeOf(cast.getX()) == DType::bf16;
  if (auto constant = llvm::dyn_cast<ConstantOp>(op)) return (constant.getValue() & 0xffff) == 0;
  if (llvm::isa<MaxOp, MinOp, BroadcastOp, ReshapeOp, TransposeOp>(op))
    return llvm::all_of(op->getOperands(), isNarrow);
  return false;
}

/// A number that is bounded below and above.
bool clamps(Operation* op) {
  return llvm::isa<MaxOp, MinOp>(op) && isNarrow(op->getResult(0)) &&
         llvm::isa_and_nonnull<MaxOp, MinOp>(op->getOperand(0).getDefiningOp());
}

}  // namespace

bool KernelLowering::isZero(Value tile) {
  Operation* op = tile.getDefiningOp();
  if (auto constant = llvm::dyn_cast_or_null<ConstantOp>(op)) return constant.getValue() == 0;
  return op != nullptr && llvm::isa<BroadcastOp, ReshapeOp>(op) && isZero(op->getOperand(0));
}

/// Registers `number`, which is even, and the next one of a tile of bf16 numbers in f32.
Value KernelLowering::narrowPair(Value tile, const Layout& layout, int64_t number) {
  if (auto reshape = tile.getDefiningOp<ReshapeOp>())
    return narrowPair(reshape.getX(), layout, number);
  if (auto max = tile.getDefiningOp<MaxOp>()) {
    if (const Value source = roundedSource(max.getA()); source && isZero(max.getB())) {
      const Registers from = get(source, layout);
      return nonNegativePair(e_, from.values[number], from.values[number + 1]);
    }
    return maxPairs(e_, narrowPair(max.getA(), layout, number),
                    narrowPair(max.getB(), layout, number));
  }
  if (auto min = tile.getDefiningOp<MinOp>())
    return minPairs(e_, narrowPair(min.getA(), layout, number),
                    narrowPair(min.getB(), layout, number));
  const Value source = roundedSource(tile);
  auto product = source ? source.getDefiningOp<MulOp>() : MulOp();
  if (product && isNarrow(product.getA()) && isNarrow(product.getB()))
    return multiplyPairs(e_, narrowPair(product.getA(), layout, number),
                         narrowPair(product.getB(), layout, number));
  if (auto widened = tile.getDefiningOp<CastOp>(); widened && !source) {
    const Registers from = get(widened.getX(), layout);
    return pairOf(e_, from.values[number], from.values[number + 1]);
  }
  const Registers from = get(source ? source : tile, layout);
  const auto rounded = [&](int64_t i) {
    return convert(e_, DType::f32, DType::bf16, from.values[i]);
  };
  return pairOf(e_, rounded(number), rounded(number + 1));
}

/// A tile of rounded products of such numbers, or of such numbers clamped, if this is one and pairs
/// of it lie side by side.
std::optional<Registers> KernelLowering::narrowNumbers(Operation* op, const Layout& layout) {
  if (target_.arithmetic.ptx < 80 || !layout.inRegister(0)) return std::nullopt;
  const Value source = roundedSource(op->getResult(0));
  auto product = source ? source.getDefiningOp<MulOp>() : MulOp();
  const bool multiplies = product && isNarrow(product.getA()) && isNarrow(product.getB());
  if (!multiplies && !clamps(op)) return std::nullopt;
  Registers result{layout, {}};
  for (int64_t r = 0; r < layout.registerCount(); r += 2)
    llvm::append_range(result.values, widenPair(e_, narrowPair(op->getResult(0), layout, r)));
  return result;
}

/// The sums along an axis of a tile of bf16 numbers that lies as wgmma leaves sums, over registers
/// and the four lanes of a row, by register of the result; empty: they are made otherwise.
SmallVector<Value> KernelLowering::sumsOfNarrow(ReduceOp op, const Registers& source) {
  const lang::TileShape shape = shapeOf(op.getX());
  const auto axis = static_cast<int>(op.getAxis());
  const int first = firstBit(shape, axis), end = first + bitCount(shape, axis);
  const auto onAxis = [&](int bit) { return bit >= first && bit < end; };
  const Layout& layout = source.layout;
  const auto& lanes = layout.threads;
  if (op.getKind() != Reduction::sum || layouts_.products().empty() || !isNarrow(op.getX()) ||
      !layout.inRegister(0) || !onAxis(0) || !onAxis(lanes[0]) || !onAxis(lanes[1]) ||
      onAxis(lanes[2]) || onAxis(lanes[3]) || onAxis(lanes[4]))
    return {};
  const Layout result = layout.renamed(Reduced{shape, axis});
  SmallVector<SmallVector<Value>> pairs(static_cast<size_t>(result.registerCount()));
  for (int64_t r = 0; r < layout.registerCount(); r += 2) {
    int64_t position = 0;
    for (auto [i, bit] : llvm::enumerate(layout.registers))
      if (((r >> i) & 1) && !onAxis(bit)) position |= int64_t{1} << Reduced{shape, axis}(bit);
    pairs[result.registerOf(position)].push_back(narrowPair(op.getX(), layout, r));
  }
  // Rows g and g + 8 of the instruction are any two sums of a thread, its K their pairs in any
  // order.
  const Value none = e_.i32(0), ones = e_.i32(0x3f803f80);
  SmallVector<Value> sums;
  for (size_t i = 0; i < pairs.size(); i += 2) {
    SmallVector<Value> both(kMmaSums, e_.f32(0));
    const auto pairOfRow = [&](size_t row, size_t k) {
      return row < pairs.size() && k < pairs[row].size() ? pairs[row][k] : none;
    };
    for (size_t k = 0; k < pairs[i].size(); k += 2)
      both = multiplyAdd(
          e_, PairType::kBf16,
          {pairOfRow(i, k), pairOfRow(i + 1, k), pairOfRow(i, k + 1), pairOfRow(i + 1, k + 1)},
          {ones, ones}, both);
    sums.append({both[0], both[2]});
  }
  sums.truncate(pairs.size());
  return sums;
}

}  // namespace tessera::compiler::simt
