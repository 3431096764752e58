// SPDX-License-Identifier: Apache-2.0
// e2m1 as e5m2, scales included: wgmma multiplies it by e4m3. Words are i32.
#pragma once

#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

/// The e8m0 code (i32) of a block's scale; 0 where it is NaN or all codes in `words` are zeros.
mlir::Value scaleThatCounts(Emitter& e, mlir::ValueRange words, mlir::Value scale);

/// What the numbers of e5m2OfE2m1() are multiplied with (f32).
mlir::Value e5m2Factor(Emitter& e, mlir::Value largest);

/// A block of e2m1 as twice as many words, in order, times its scale relative to the largest one
/// (e8m0 codes, i32): exact from 2^-26 on, zeros below. NaN where the scale is.
llvm::SmallVector<mlir::Value> e5m2OfE2m1(Emitter& e, mlir::ValueRange words, mlir::Value scale,
                                          mlir::Value largest);

}  // namespace tessera::compiler::simt
