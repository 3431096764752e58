// SPDX-License-Identifier: Apache-2.0
// Operands brought into the form products are computed in: rows of f32, bf16 or i16 along K, in the
// order a Decoder produces, scales folded in.
#pragma once

#include <cstdint>
#include <optional>

#include "tessera/compiler/lowering/cpu/dot.h"
#include "tessera/compiler/lowering/cpu/dot_decode.h"

namespace tessera::compiler::cpu {

/// Rows of elements ready for products, contiguous along K.
struct DotRows {
  mlir::Value base;
  mlir::Value stride;  // i64, bytes

  mlir::Value row(Emitter& e, mlir::Value index) const {
    return e.offset(base, e.mul(index, stride));
  }
  mlir::Value row(Emitter& e, int64_t index) const { return row(e, e.i64(index)); }
};

/// Whether products can read an operand where it is: its memory holds what decode() of this decoder
/// gives. Tiles large enough to pay for it are copied all the same: rows of a matrix are often a
/// multiple of 4096 bytes apart, and then share a few sets of the caches.
bool isReady(const DotTask& task, const DotOperand& operand, bool scaled, const Decoder& decoder);

/// Whether packRows() handles these scales: groups of k at least as long as the vectors it works
/// on.
bool canPack(const std::optional<DotScale>& scale, int64_t k, int64_t lanes);

/// Converts `rows` rows of `k` elements in the order of `decoder` (which may be made for another
/// dtype) into `to`; only the first `used` where that is given.
void packRows(Emitter& e, const Decoder& decoder, const DotOperand& operand,
              const std::optional<DotScale>& scale, int64_t rows, int64_t k, const DotRows& to,
              mlir::Value used = {});

/// Memory of `bytes`, 64-byte aligned, that `fill` writes what is made of operand a to: in this
/// call or, where the task allows it, in an earlier one (see DotReuse).
mlir::Value keptOrMade(Emitter& e, DotTask& task, int64_t bytes,
                       llvm::function_ref<void(mlir::Value)> fill);

/// Operand a of the task, ready for products with operand b as `decoder` gives it: as it lies in
/// memory, packed now, or packed by an earlier call (see DotReuse).
DotRows packA(Emitter& e, DotTask& task, const Decoder& decoder);

/// Scratch for rows of k elements; strides are spread over the sets of the caches.
DotRows scratchRows(Emitter& e, DotForm form, int64_t rows, int64_t k);

/// Address of the scale of row `row` and group `group`.
mlir::Value scaleAddress(Emitter& e, const DotScale& scale, mlir::Value row, int64_t rows,
                         mlir::Value group);

/// Elements of K that share a scale.
inline int64_t groupOf(const DotScale& scale, int64_t k) { return k / scale.groups; }

}  // namespace tessera::compiler::cpu
