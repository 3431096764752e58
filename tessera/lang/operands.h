// SPDX-License-Identifier: Apache-2.0
// How the operations of tile.h turn what the author wrote (tiles and numbers) into node operands:
// numbers become constants, index scalars widen to i64, shapes broadcast. Private to tessera/lang.
#pragma once

#include <array>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "tessera/lang/kernel_builder.h"

namespace tessera::lang::detail {

/// The kernel of the first operand that has one, or null (numbers and empty tiles only).
KernelBuilder* builder_of(std::initializer_list<const Operand*> operands);

/// The bits of a number as a constant of `dtype`, or nothing when it does not fit.
std::optional<int64_t> constant_bits(DType dtype, const Operand& number);

/// A number as a constant of that type, a tile as it is.
Tile as_tile(KernelBuilder& k, std::string_view op, const Operand& operand, TileType type);
/// A tile; numbers are a mistake.
Tile need_tile(KernelBuilder& k, std::string_view op, std::string_view what,
               const Operand& operand);
/// An i64 scalar from a number or an i32, u32 or i64 scalar.
Tile as_index(KernelBuilder& k, std::string_view op, std::string_view what, const Operand& operand);

/// Operands of one elementwise operation, of one dtype and one shape.
struct Unified {
  std::vector<Tile> tiles;
  TileType type;
};
/// `also` takes part in broadcasting only (the condition of select); it comes last in `tiles`.
/// Nothing: a mistake was recorded, or an operand is poison.
std::optional<Unified> unify(KernelBuilder& k, std::string_view op,
                             std::initializer_list<const Operand*> operands,
                             const Operand* also = nullptr);

/// Splat constants fold.
Tile broadcast_to(KernelBuilder& k, Tile x, TileShape shape, std::source_location at);

}  // namespace tessera::lang::detail
