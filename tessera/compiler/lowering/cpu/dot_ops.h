// SPDX-License-Identifier: Apache-2.0
// Vector operations the dot kernels need beyond those of the Emitter: dot instructions, table
// lookups, sums over the lanes of many accumulators. Each works on every target; the instruction is
// used where there is one.
#pragma once

#include <cstdint>

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "mlir/IR/Value.h"
#include "tessera/base/dtype.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::cpu {

using Values = llvm::SmallVector<mlir::Value>;

/// What products are computed in: f32, pairs of bf16 summed into f32, or pairs of i16 into i32.
enum class DotForm { kF32, kBf16, kI16 };

inline int64_t bytesOf(DotForm form) { return form == DotForm::kF32 ? 4 : 2; }
/// Elements of one vector whose accumulator has `lanes` lanes.
inline int64_t widthOf(DotForm form, int64_t lanes) {
  return form == DotForm::kF32 ? lanes : 2 * lanes;
}
mlir::Type elementOf(Emitter& e, DotForm form);      // f32 or i16
mlir::Type accumulatorOf(Emitter& e, DotForm form);  // f32 or i32

/// accumulator + products of x and y. kBf16 needs a target with the dot instruction.
mlir::Value multiplyAdd(Emitter& e, DotForm form, mlir::Value accumulator, mlir::Value x,
                        mlir::Value y);

/// Unsigned x - y, not below zero.
mlir::Value subSaturated(Emitter& e, mlir::Value x, mlir::Value y);
mlir::Value rotateLeft(Emitter& e, mlir::Value x, mlir::Value amounts);
mlir::Value maxUnsigned(Emitter& e, mlir::Value x, mlir::Value y);
/// x / divisor (a power of two) for x >= 0.
mlir::Value divide(Emitter& e, mlir::Value x, int64_t divisor);

/// Scale stored at `pointer` as f32: e8m0 is exact for byte 0 and NaN for 255.
mlir::Value loadScale(Emitter& e, DType dtype, mlir::Value pointer);
/// The same for e8m0 bytes zero-extended to i32 lanes.
mlir::Value scaleOfBytes(Emitter& e, mlir::Value bytes);
/// Four e8m0 bytes at `pointer`, each the scale of four of 16 lanes; none of them is 0 or 255.
mlir::Value scalesOfGroups(Emitter& e, mlir::Value pointer);

/// Sums over the lanes of many accumulators at once: lane i of result r is the sum of accumulator
/// r * lanes + i. Lanes past the last accumulator hold copies.
Values sumLanes(Emitter& e, llvm::ArrayRef<mlir::Value> accumulators);

/// dest[d] lane l = element order[d * width + l] of the concatenated sources (all of one type).
Values permute(Emitter& e, llvm::ArrayRef<mlir::Value> sources, llvm::ArrayRef<int64_t> order);

/// if (condition) then() else otherwise(): both give the same types.
Values branch(Emitter& e, mlir::Value condition, llvm::function_ref<Values()> then,
              llvm::function_ref<Values()> otherwise);

}  // namespace tessera::compiler::cpu
