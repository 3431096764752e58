// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/cpu/scaled_codes.h"

#include "tessera/compiler/lowering/cpu/integer_range.h"
#include "tessera/compiler/lowering/lanes/scaled_e4m3.h"

namespace tessera::compiler::cpu {

using mlir::Value;

namespace {

bool isConstant(Value value, int64_t number) {
  auto constant = value.getDefiningOp<tile::ConstantOp>();
  return constant && static_cast<int64_t>(constant.getValue()) == number;
}

/// The f32 tile is made of an exponent's bits alone, and that is in the range.
bool isPowerOfTwo(Value tile) {
  auto bits = tile.getDefiningOp<tile::BitcastOp>();
  auto shifted = bits ? bits.getX().getDefiningOp<tile::ShlOp>() : tile::ShlOp();
  return shifted && isConstant(shifted.getB(), 23) && tile::dtypeOf(tile) == DType::f32 &&
         rangeOf(shifted.getA()).within(kLeastScaleExponent, kMostScaleExponent);
}

}  // namespace

std::optional<ScaledCodes> scaledCodesOf(tile::CastOp codes,
                                         llvm::function_ref<bool(Value)> isStored) {
  if (tile::dtypeOf(codes.getResult()) != DType::f8e4m3) return std::nullopt;
  auto product = codes.getX().getDefiningOp<tile::MulOp>();
  if (!product || isStored(product.getResult())) return std::nullopt;
  auto stretched = product.getB().getDefiningOp<tile::BroadcastOp>();
  if (!stretched || !isPowerOfTwo(stretched.getX())) return std::nullopt;
  Value wide = product.getA();
  for (auto reshape = wide.getDefiningOp<tile::ReshapeOp>(); reshape && !isStored(wide);
       reshape = wide.getDefiningOp<tile::ReshapeOp>())
    wide = reshape.getX();
  auto widened = wide.getDefiningOp<tile::CastOp>();
  if (!widened || isStored(wide) || tile::dtypeOf(widened.getX()) != DType::bf16)
    return std::nullopt;
  return ScaledCodes{widened.getX(), stretched.getX()};
}

}  // namespace tessera::compiler::cpu
