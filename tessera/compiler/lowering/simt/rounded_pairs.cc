// SPDX-License-Identifier: Apache-2.0
// Products of numbers that are bf16 already, rounded to bf16: two at once. One rounding of the
// exact product gives the same bits as multiplying in f32, which is exact, and rounding then.
#include "tessera/compiler/lowering/lanes/conversions.h"
#include "tessera/compiler/lowering/simt/bf16_pairs.h"
#include "tessera/compiler/lowering/simt/kernel_lowering.h"

namespace tessera::compiler::simt {

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

}  // namespace

/// Registers `number`, which is even, and the next one of a tile of bf16 numbers in f32.
Value KernelLowering::narrowPair(Value tile, const Layout& layout, int64_t number) {
  if (auto max = tile.getDefiningOp<MaxOp>())
    return maxPairs(e_, narrowPair(max.getA(), layout, number),
                    narrowPair(max.getB(), layout, number));
  const Value source = roundedSource(tile);
  auto product = source ? source.getDefiningOp<MulOp>() : MulOp();
  if (product && isNarrow(product.getA()) && isNarrow(product.getB()))
    return multiplyPairs(e_, narrowPair(product.getA(), layout, number),
                         narrowPair(product.getB(), layout, number));
  const Registers from = get(source ? source : tile, layout);
  const auto rounded = [&](int64_t i) {
    return convert(e_, DType::f32, DType::bf16, from.values[i]);
  };
  return pairOf(e_, rounded(number), rounded(number + 1));
}

/// A tile of rounded products of such numbers, if this is one and pairs of it lie side by side.
std::optional<Registers> KernelLowering::roundedProducts(Operation* op, const Layout& layout) {
  const Value source = target_.arithmetic.ptx >= 80 ? roundedSource(op->getResult(0)) : Value();
  auto product = source ? source.getDefiningOp<MulOp>() : MulOp();
  if (!product || !isNarrow(product.getA()) || !isNarrow(product.getB()) || !layout.inRegister(0))
    return std::nullopt;
  Registers result{layout, {}};
  for (int64_t r = 0; r < layout.registerCount(); r += 2) {
    const Value pair = narrowPair(op->getResult(0), layout, r);
    result.values.push_back(e_.bitcast(e_.shl(pair, 16), e_.f32()));
    result.values.push_back(e_.bitcast(e_.andi(pair, 0xffff0000), e_.f32()));
  }
  return result;
}

}  // namespace tessera::compiler::simt
