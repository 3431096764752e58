// SPDX-License-Identifier: Apache-2.0
// 8-bit and 4-bit floats as f32 by SPIR-V's conversion of pairs of f16, in which they are exact:
// their bits only have to be moved, those of subnormals too.
#pragma once

#include "llvm/ADT/SmallVector.h"
#include "tessera/base/dtype.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::simt {

/// The elements of a word of packed e4m3 or e2m1, in order, times `factor` (f32; null: 1). A NaN
/// makes all of the word NaN: its elements must belong to one sum of products.
llvm::SmallVector<mlir::Value> floatsByHalves(Emitter& e, DType dtype, mlir::Value word,
                                              mlir::Value factor);

}  // namespace tessera::compiler::simt
