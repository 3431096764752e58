// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/half_pairs.h"

namespace tessera::compiler::simt {

using llvm::SmallVector;
using mlir::Value;

bool hasPairsOfHalf(const CpuTarget& target) { return target.ptx >= 89; }

SmallVector<Value> halfPairsOfE4m3(Emitter& e, Value word) {
  const mlir::Type pair = mlir::VectorType::get({2}, e.builder.getF16Type());
  SmallVector<Value> pairs;
  for (int64_t shift : {0, 16})
    pairs.push_back(e.bitcast(e.intrinsic("llvm.nvvm.e4m3x2.to.f16x2.rn", pair,
                                          {e.truncate(e.shr(word, shift), e.i16())}),
                              e.i32()));
  return pairs;
}

/// Exponent and mantissa are those of the upper half of an f16: also of its subnormals, 2^-14 of
/// the number.
SmallVector<Value> halfPairsOfE2m1(Emitter& e, Value word) {
  constexpr int64_t kSigns = 0x80808080, kMagnitudes = 0x0e0e0e0e;
  const Value even = e.ori(e.andi(e.shl(word, 4), kSigns), e.andi(e.shl(word, 1), kMagnitudes));
  const Value odd = e.ori(e.andi(word, kSigns), e.andi(e.shr(word, 3), kMagnitudes));
  SmallVector<Value> pairs;
  for (Value upper : {even, odd})
    for (int64_t bytes : {0x1404, 0x3424})
      pairs.push_back(e.intrinsic("llvm.nvvm.prmt", e.i32(), {upper, e.i32(0), e.i32(bytes)}));
  return pairs;
}

SmallVector<Value> halfPairsInOrderOfE2m1(Emitter& e, Value low, Value high) {
  SmallVector<Value> pairs;
  for (int64_t bytes : {0x6420, 0x7531})
    llvm::append_range(pairs, halfPairsOfE4m3(e, e.intrinsic("llvm.nvvm.prmt", e.i32(),
                                                             {low, high, e.i32(bytes)})));
  return pairs;
}

}  // namespace tessera::compiler::simt
