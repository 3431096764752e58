// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/magnitudes.h"

namespace tessera::compiler::cpu {

using mlir::Value;

namespace {

Value withoutReshapes(Value value) {
  while (auto reshape = value.getDefiningOp<tile::ReshapeOp>()) value = reshape.getX();
  return value;
}

bool isConstant(Value value, int64_t number) {
  auto constant = value.getDefiningOp<tile::ConstantOp>();
  return constant && static_cast<int64_t>(constant.getValue()) == number;
}

/// The bf16 tile whose magnitudes as bits of f32 these are, in whatever shape; null: none.
Value numbersOf(Value magnitudes) {
  auto masked = withoutReshapes(magnitudes).getDefiningOp<tile::AndOp>();
  if (!masked || !isConstant(masked.getB(), 0x7fffffff)) return {};
  auto bits = withoutReshapes(masked.getA()).getDefiningOp<tile::BitcastOp>();
  if (!bits || tile::dtypeOf(bits.getX()) != DType::f32) return {};
  auto widened = withoutReshapes(bits.getX()).getDefiningOp<tile::CastOp>();
  if (!widened || tile::dtypeOf(widened.getX()) != DType::bf16) return {};
  return widened.getX();
}

}  // namespace

Value wordsOfMagnitudes(tile::ReduceOp reduce) {
  if (reduce.getKind() != tile::Reduction::max || tile::dtypeOf(reduce.getX()) != DType::i32)
    return {};
  const Value numbers = numbersOf(reduce.getX());
  if (!numbers) return {};
  mlir::OpBuilder builder(reduce);
  const mlir::Type word = tile::elementType(builder.getContext(), DType::i16);
  const Value words =
      tile::BitcastOp::create(builder, reduce.getLoc(), tile::typeOf(numbers).clone(word), numbers);
  const mlir::Type type = tile::typeOf(reduce.getX()).clone(word);
  if (words.getType() == type) return words;
  return tile::ReshapeOp::create(builder, reduce.getLoc(), type, words);
}

}  // namespace tessera::compiler::cpu
