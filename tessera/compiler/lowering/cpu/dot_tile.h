// SPDX-License-Identifier: Apache-2.0
// Products of many rows with many rows: register tiles over operands that are ready for products.
#pragma once

#include "tessera/compiler/lowering/cpu/dot_pack.h"

namespace tessera::compiler::cpu {

/// Rows that will be wanted soon: `bytes` of each are brought into the second-level cache bit by
/// bit while a tile is worked on. They need not exist.
struct DotAhead {
  DotRows rows;
  int64_t count, bytes;
};

/// Adds a . b over `k` elements, a multiple of the vectors' width, to `accumulator`, row-major [m,
/// n] of f32 or i32. `usedRows` as in DotTask.
void emitTile(Emitter& e, DotForm form, int64_t lanes, int64_t m, int64_t n, int64_t k,
              const DotRows& a, const DotRows& b, mlir::Value accumulator, mlir::Value usedRows,
              llvm::ArrayRef<DotAhead> ahead);

/// The task's operand b, ready for products over [first, first + k) of its K: as it lies in memory
/// or decoded into `scratch`, scales folded in.
DotRows prepareB(Emitter& e, const DotTask& task, Decoder& decoder, mlir::Value first, int64_t k,
                 const DotRows& scratch);

/// Whether prepareB() handles the scales of b.
bool canPrepareB(const DotTask& task, const Decoder& decoder);

/// Emits `fast`, where it needs what prepareB() folds to be exact, beside `slow` for scales that
/// are outside of that.
void whereFoldIsExact(Emitter& e, const DotTask& task, const Decoder& decoder,
                      llvm::function_ref<void()> fast, llvm::function_ref<void()> slow);

}  // namespace tessera::compiler::cpu
