// SPDX-License-Identifier: Apache-2.0
// Matrix products of one tile. The tile lowering decides where operands live; the code behind
// emitDot() decides everything else: register blocking, instructions, order of summation.
//
// Operands are always whole tiles. A tile that sticks out of its view was copied to scratch memory
// with its fill value before, and `pointer` selected at run time, so there are no masks here. Only
// the bytes of the tile may be read, nothing behind its rows: the next byte may be unmapped.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "llvm/ADT/SmallVector.h"
#include "mlir/IR/Value.h"
#include "tessera/base/dtype.h"
#include "tessera/compiler/lowering/lanes/cpu_target.h"
#include "tessera/compiler/lowering/lanes/emitter.h"

namespace tessera::compiler::cpu {

/// Elements in memory, raw storage of `dtype` (f4e2m1: two a byte, low nibble first).
struct DotOperand {
  mlir::Value pointer;    // !llvm.ptr of element (0, 0); only element-aligned
  mlir::Value rowStride;  // i64, bytes from one row to the next
  DType dtype;
  /// The tile lies in a view and is read once: worth prefetching the rows that follow. False for
  /// scratch memory.
  bool inView = false;
};

/// Scales of groups of rows and of k; element (r, g) belongs to rows r * (rows of the operand) /
/// rows and to k from g * K / groups.
struct DotScale {
  mlir::Value pointer;    // !llvm.ptr of element (0, 0)
  mlir::Value rowStride;  // i64, bytes
  DType dtype;            // f8e8m0 or f32 (a power of two)
  int64_t rows = 1;
  int64_t groups = 1;
};

struct DotTask;

/// Promise that operand a (with its scale) is a function of `key` alone, so that converting and
/// packing it is done once for many calls: a loop over rows of weights multiplies them all with the
/// same activations, and so do the programs after this one. emitDot() keeps packed tiles in stack
/// memory of the whole call and compares keys at run time; nothing has to be hoisted by hand.
///
/// How the caller finds out: take the backward slice of a and aScale; if it holds pure operations
/// and loads from views that this kernel does not write, then `key` is the slice's leaves (loop
/// variables, program ids, scalars; launch constants may be left out). Operations of the slice that
/// have no other use are then emitted by `load` only.
struct DotReuse {
  llvm::SmallVector<mlir::Value> key;  // i64 each
  mlir::Value position;  // i64: offset of the tile along K in elements, a multiple of k
  /// Emits the loads (clipped copies, gathers, ..) at the insertion point, which is inside an `if`,
  /// and sets task.a and task.aScale. Only a.dtype and aScale's dtype, rows and groups are set
  /// before.
  std::function<void(DotTask&)> load;
};

struct DotTask {
  int64_t m = 0, n = 0, k = 0;
  DotOperand a;  // [M, K]
  DotOperand b;  // [N, K], or [K, N] when bIsKn
  bool bIsKn = false;
  std::optional<DotScale> aScale, bScale;
  std::optional<DotReuse> reuse;
  /// i64, may be null: rows of a from here on lie outside of its view. Their sums are not wanted
  /// and little time is spent on them. Never changes the bits of other rows.
  mlir::Value usedRows;

  /// Accumulator, added to. kPlain: [M, N] f32 (i32 for i8 operands), row-major. kPartial: [M, N,
  /// L] f32 with L = target.lanes: lanes hold partial sums that the caller adds up after its loop,
  /// lane 0 to L - 1 in a tree of halves. 64-byte aligned, an alloca in the entry block: read and
  /// write it with vectors at constant offsets, the same ones before and after any loop, and LLVM
  /// keeps it in registers across the caller's loop.
  /// kTransposed: some copies of [N, M] f32, 64-byte aligned, for tile registers (dot_amx.h).
  enum class Accumulator { kPlain, kPartial, kTransposed };
  mlir::Value accumulator;
  Accumulator layout = Accumulator::kPlain;
};

/// Whether emitDot() wants kPartial for this task when the accumulator is carried around a loop
/// (small M * N, where a horizontal sum for each step would cost more than the products).
bool wantsPartialSums(const CpuTarget& target, const DotTask& task);

/// Emits the product at the emitter's insertion point.
void emitDot(Emitter& emitter, const DotTask& task);

}  // namespace tessera::compiler::cpu
