// SPDX-License-Identifier: Apache-2.0
// Functions on f32 as polynomials: no library, the same on every lane. Largest errors, checked by
// tests: exp, exp2 2 ulp; log, log1p 3; sigmoid 4; sin, cos 3 for |x| up to 2^20. Subnormals,
// infinities and NaN are treated as IEEE 754 wants.
#pragma once

#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler {

mlir::Value emitExp(Emitter& e, mlir::Value x);
mlir::Value emitExp2(Emitter& e, mlir::Value x);
mlir::Value emitLog(Emitter& e, mlir::Value x);
mlir::Value emitLog1p(Emitter& e, mlir::Value x);
mlir::Value emitSigmoid(Emitter& e, mlir::Value x);
mlir::Value emitSin(Emitter& e, mlir::Value x);
mlir::Value emitCos(Emitter& e, mlir::Value x);
mlir::Value emitSqrt(Emitter& e, mlir::Value x);

mlir::Value divide(Emitter& e, mlir::Value a, mlir::Value b);
/// NaN if one operand is.
mlir::Value minFloat(Emitter& e, mlir::Value a, mlir::Value b);
mlir::Value maxFloat(Emitter& e, mlir::Value a, mlir::Value b);

}  // namespace tessera::compiler
