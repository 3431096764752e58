// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/lowering/simt/spirv_halves.h"

#include <limits>

#include "mlir/Dialect/SPIRV/IR/SPIRVDialect.h"
#include "mlir/Dialect/SPIRV/IR/SPIRVOps.h"
#include "tessera/base/check.h"

namespace tessera::compiler::simt {

namespace spirv = mlir::spirv;
using llvm::SmallVector;
using mlir::Value;

namespace {

/// What the moved bits are short of: the difference of the exponents' biases.
constexpr float kOfE4m3 = 0x1p8F, kOfE2m1 = 0x1p14F;

/// Two bytes of a word, from bit `at` on, as the upper bytes of two halves.
Value upperBytes(Emitter& e, Value word, int64_t at) {
  const Value low = e.andi(at == 0 ? e.shl(word, 8) : e.shr(word, at - 8), 0xff00);
  const Value high = e.andi(at == 0    ? e.shl(word, 16)
                            : at == 16 ? word
                                       : e.shl(word, 16 - at),
                            0xff000000);
  return e.ori(low, high);
}

SmallVector<Value> halvesOfE4m3(Emitter& e, Value word) {
  SmallVector<Value> halves;
  for (int64_t at : {0, 16}) {
    const Value upper = upperBytes(e, word, at);
    halves.push_back(e.ori(e.andi(upper, 0x80008000), e.andi(e.shr(upper, 1), 0x3f803f80)));
  }
  return halves;
}

/// Of a byte's two codes the upper one has its sign where the half has it.
SmallVector<Value> halvesOfE2m1(Emitter& e, Value word) {
  SmallVector<Value> halves;
  for (int64_t at = 0; at < 32; at += 8) {
    const Value byte = e.andi(at == 0 ? word : e.shr(word, at), 0xff);
    const Value codes = e.ori(e.shl(byte, 12), e.shl(e.andi(byte, 0xf0), 24));
    halves.push_back(e.ori(e.andi(codes, 0x80008000), e.andi(e.shr(codes, 3), 0x0e000e00)));
  }
  return halves;
}

}  // namespace

SmallVector<Value> floatsByHalves(Emitter& e, DType dtype, Value word, Value factor) {
  const bool e4m3 = dtype == DType::f8e4m3;
  TESSERA_CHECK(e4m3 || dtype == DType::f4e2m1);
  // Not multiplied into the factor, which may be 2^127.
  Value missing = e.f32(e4m3 ? kOfE4m3 : kOfE2m1);
  if (e4m3) {
    // Of the magnitudes NaN's alone, 0x7f, reaches bit 7 when one is added.
    const Value above = e.andi(e.add(e.andi(word, 0x7f7f7f7f), e.i32(0x01010101)), 0x80808080);
    missing = e.select(e.compare(mlir::arith::CmpIPredicate::eq, above, e.i32(0)), missing,
                       e.f32(std::numeric_limits<float>::quiet_NaN()));
  }
  const mlir::Type pair = mlir::VectorType::get({2}, e.f32());
  SmallVector<Value> floats;
  for (Value half : e4m3 ? halvesOfE4m3(e, word) : halvesOfE2m1(e, word)) {
    const Value both = spirv::GLUnpackHalf2x16Op::create(e.builder, e.loc, pair, half);
    for (int32_t lane : {0, 1}) {
      const Value code =
          spirv::CompositeExtractOp::create(e.builder, e.loc, both, llvm::ArrayRef(lane));
      const Value number = e.mul(code, missing);
      floats.push_back(factor ? e.mul(number, factor) : number);
    }
  }
  return floats;
}

}  // namespace tessera::compiler::simt
