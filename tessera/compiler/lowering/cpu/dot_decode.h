// SPDX-License-Identifier: Apache-2.0
// Turns elements as they are stored along K into vectors that products are computed in. The vectors
// come in the order that is cheapest to produce, not in that of memory; the other operand is packed
// in the same order once (dot_pack.h), so nothing is ever put back in order.
//
// Every conversion is exact, subnormals and NaN included: e4m3 and e2m1 values are normal numbers
// of bf16, which matters because the bf16 dot instruction flushes subnormals.
#pragma once

#include "tessera/compiler/lowering/cpu/dot_ops.h"

namespace tessera::compiler::cpu {

/// Byte tables of the bf16 bits of the 128 magnitudes of e4m3, and how to make scaled ones.
struct Fp8Tables {
  mlir::Value low[2], high[2];  // <64 x i8>: low and high bytes of codes 0..63 and 64..127
};

class Decoder {
 public:
  /// `lanes`: of the accumulators. Asks for nothing the target lacks.
  Decoder(Emitter& e, DType dtype, DotForm form, int64_t lanes);

  DType dtype() const { return dtype_; }
  DotForm form() const { return form_; }
  int64_t lanes() const { return lanes_; }
  int64_t width() const { return widthOf(form_, lanes_); }  // elements of a vector
  int64_t step() const { return step_; }                    // elements of one decode()
  int64_t vectors() const { return step_ / width(); }       // vectors of one decode()
  /// Element within the step in lane i % width() of vector i / width().
  llvm::ArrayRef<int64_t> order() const { return order_; }
  bool isNatural() const;
  /// Elements whose products end in one lane of an accumulator are neighbours, `laneGroup()` at a
  /// time: lane l belongs to elements [l * laneGroup(), (l + 1) * laneGroup()) of the step.
  /// 0: there is no such order.
  int64_t laneGroup() const;

  /// Unscaled values of the step at `pointer`. `readsOn`: one byte behind the step may be read.
  Values decode(mlir::Value pointer, bool readsOn = false);

  // ---- power-of-two scales folded into bf16 values, by arithmetic on exponents ----
  /// Whether this decoder can; e8m0 scale bytes must then be in [foldLow, foldHigh].
  bool folds(int64_t scaleGroup) const;
  int foldLow() const { return kind_ == Kind::kFp4Table ? 2 : 10; }
  int foldHigh() const { return kind_ == Kind::kFp4Table ? 252 : 246; }
  /// f4: `scaleBytes` holds one e8m0 byte for every 32 elements of the step.
  Values decodeFp4Folded(mlir::Value pointer, mlir::Value scaleBytes);
  /// f8: tables scaled by 2^(exponent - 127), exponent an i16 scalar.
  Fp8Tables fp8Tables(mlir::Value exponent = {});
  Values decodeFp8(mlir::Value pointer, const Fp8Tables& tables);

 private:
  enum class Kind {
    kLoad,       // stored as computed
    kExtendI8,   // i8 -> i16
    kBf16,       // bf16 -> f32: pairs of an i32 lane
    kFp8Shift,   // f8 -> f32: four of an i32 lane
    kFp4Shift,   // f4 -> f32: eight of an i32 lane
    kFp4Lookup,  // the same by a 16-entry lookup in a register
    kFp8Table,   // f8 -> bf16: two byte lookups in 128 entries
    kFp8Extend,  // f8 -> bf16: integer arithmetic on 16-bit lanes
    kFp4Table,   // f4 -> bf16: 16-bit lookup
  };
  static Kind kindOf(const Emitter& e, DType dtype, DotForm form, int64_t lanes);
  Values decodeShifted(mlir::Value words);
  Values nibbles(mlir::Value pointer, mlir::Value table, bool readsOn);

  Emitter& e_;
  DType dtype_;
  DotForm form_;
  int64_t lanes_;
  Kind kind_;
  int64_t step_ = 0;
  llvm::SmallVector<int64_t> order_;
};

}  // namespace tessera::compiler::cpu
