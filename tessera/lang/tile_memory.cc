// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "tessera/lang/kernel_builder.h"
#include "tessera/lang/operands.h"
#include "tessera/lang/tile.h"

namespace tessera::lang {
namespace {

/// Offsets and replaced extents as operands, and the first ints of an access.
struct AccessOperands {
  std::vector<Tile> operands;
  std::vector<int64_t> ints;
};

std::optional<AccessOperands> begin_access(Opcode op, const View& view, Offsets offsets,
                                           std::source_location at) {
  KernelBuilder& k = *view.builder();
  if (static_cast<int>(offsets.size()) != view.rank()) {
    k.mistake(at, fmt::format("{}: {} offsets for view '{}' of rank {}", mnemonic(op),
                              offsets.size(), k.decl(view.index()).name, view.rank()));
    return std::nullopt;
  }
  AccessOperands access;
  for (const Operand& offset : offsets)
    access.operands.push_back(detail::as_index(
        k, mnemonic(op), fmt::format("offset {}", access.operands.size()), offset));
  int64_t mask = 0;
  for (int d = 0; d < view.rank(); ++d) {
    const ValueId extent = view.overrides()[static_cast<size_t>(d)];
    if (extent < 0) continue;
    mask |= int64_t{1} << d;
    access.operands.emplace_back(&k, extent);
  }
  access.ints = {view.index(), mask};
  return access;
}

/// The fill of a load as bits of the view's dtype.
std::optional<int64_t> fill_bits(Opcode op, const View& view, double fill,
                                 std::source_location at) {
  const auto bits = detail::constant_bits(view.dtype(), {fill, at});
  if (!bits)
    view.builder()->mistake(at, fmt::format("{}: fill {} is not a value of {}", mnemonic(op), fill,
                                            name(view.dtype())));
  return bits;
}

Tile read(Opcode op, const View& view, Offsets offsets, std::optional<Tile> rows, TileShape shape,
          double fill, std::source_location at) {
  if (view.builder() == nullptr) return {};
  KernelBuilder& k = *view.builder();
  auto access = begin_access(op, view, offsets, at);
  const auto bits = fill_bits(op, view, fill, at);
  if (!access || !bits) return k.poison();
  if (rows) access->operands.push_back(*rows);
  access->ints.push_back(*bits);
  const TileType type{view.dtype(), shape};
  return k.emit(op, access->operands, {&type, 1}, std::move(access->ints), at)[0];
}

void write(Opcode op, const View& view, Offsets offsets, std::initializer_list<Tile> rest,
           std::optional<int64_t> flag, std::source_location at) {
  if (view.builder() == nullptr) return;
  auto access = begin_access(op, view, offsets, at);
  if (!access) return;
  access->operands.insert(access->operands.end(), rest);
  if (flag) access->ints.push_back(*flag);
  view.builder()->emit(op, access->operands, {}, std::move(access->ints), at);
}

Tile stored(const View& view, const Operand& tile) {
  if (view.builder() == nullptr) return tile.tile;
  return detail::as_tile(*view.builder(), "store", tile, {view.dtype(), {}});
}

}  // namespace

Tile load(const View& view, Offsets offsets, TileShape shape, double fill,
          std::source_location at) {
  return read(Opcode::kLoad, view, offsets, std::nullopt, shape, fill, at);
}

Tile load_scalar(const View& view, Offsets offsets, double fill, std::source_location at) {
  return read(Opcode::kLoad, view, offsets, std::nullopt, {}, fill, at);
}

void store(const View& view, Offsets offsets, Operand tile, std::source_location at) {
  write(Opcode::kStore, view, offsets, {stored(view, tile)}, 0, at);
}

void store_masked(const View& view, Offsets offsets, Operand tile, Tile mask,
                  std::source_location at) {
  Tile value = stored(view, tile);
  if (tile.is_number && view.builder() != nullptr)
    value = detail::broadcast_to(*view.builder(), value, mask.shape(), at);
  write(Opcode::kStore, view, offsets, {value, mask}, 1, at);
}

Tile gather(const View& view, Offsets offsets, Tile rows, int64_t cols, double fill,
            std::source_location at) {
  TileShape shape{rows.shape().rank() == 1 ? rows.shape()[0] : 1};
  if (cols != 0) shape.push_back(cols);
  return read(Opcode::kGather, view, offsets, rows, shape, fill, at);
}

void scatter(const View& view, Offsets offsets, Tile rows, Tile tile, std::source_location at) {
  write(Opcode::kScatter, view, offsets, {rows, tile}, std::nullopt, at);
}

void atomic_add(const View& view, Offsets offsets, Tile rows, Tile tile, std::source_location at) {
  write(Opcode::kAtomicAdd, view, offsets, {rows, tile}, std::nullopt, at);
}

}  // namespace tessera::lang
