// SPDX-License-Identifier: Apache-2.0
// Matrices of 16 x 16 that the 32 lanes of a subgroup hold together (SPV_KHR_cooperative_matrix,
// SPV_KHR_bfloat16): bf16 by bf16, added up in f32. Which lane has which element is the driver's
// business, so matrices pass through workgroup memory.
#pragma once

#include "tessera/compiler/lowering/simt/thread_memory.h"

namespace tessera::compiler::simt {

class CooperativeMatrix {
 public:
  static constexpr int64_t kSize = 16;
  static constexpr int kLaneBits = 5;

  CooperativeMatrix(mlir::OpBuilder& builder, ThreadMemory& memory)
      : builder_(builder), memory_(memory) {}

  /// Where a matrix of sums lives: a variable of the function.
  mlir::Value declareSums(mlir::Location loc);
  mlir::Value zeros(mlir::Location loc);
  mlir::Value sums(mlir::Location loc, mlir::Value variable);
  void keepSums(mlir::Location loc, mlir::Value sums, mlir::Value variable);

  /// a [16, K], b [K, 16], or b [16, K] whose transpose is multiplied; of bf16 in pairs, rows begin
  /// `stride` words apart at a multiple of four.
  enum class Operand : uint8_t { kA, kB, kTurnedB };
  mlir::Value load(mlir::Location loc, Operand operand, const Array& array, mlir::Value word,
                   int64_t stride);
  mlir::Value multiplyAdd(mlir::Location loc, mlir::Value a, mlir::Value b, mlir::Value sums);
  /// Sums as f32, row by row.
  void store(mlir::Location loc, mlir::Value sums, const Array& array, mlir::Value word,
             int64_t stride);

 private:
  mlir::Type sumsType();
  mlir::Value constant(mlir::Location loc, int64_t value);

  mlir::OpBuilder& builder_;
  ThreadMemory& memory_;
};

}  // namespace tessera::compiler::simt
