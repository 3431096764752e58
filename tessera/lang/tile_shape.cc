// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "tessera/lang/kernel_builder.h"
#include "tessera/lang/operands.h"
#include "tessera/lang/tile.h"

namespace tessera::lang {
namespace {

using detail::builder_of;

/// Both halves of a result have the type of the operand with its last extent replaced.
TileShape with_last(TileShape shape, int64_t extent) {
  if (shape.rank() > 0) shape.set(shape.rank() - 1, extent);
  return shape;
}

}  // namespace

Tile broadcast(Operand x, TileShape shape) {
  KernelBuilder* k = builder_of({&x});
  return k == nullptr ? Tile() : detail::broadcast_to(*k, x.tile, shape, x.where);
}

Tile reshape(Operand x, TileShape shape) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  if (!x.tile.is_poison() && x.tile.shape() == shape) return x.tile;
  return k->emit1(Opcode::kReshape, {x.tile}, {x.tile.dtype(), shape}, {}, x.where);
}

Tile transpose(Operand x, std::initializer_list<int> permutation) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  const TileShape& from = x.tile.shape();
  TileShape shape = from;
  int i = 0;
  for (int axis : permutation) {
    if (i < from.rank() && axis >= 0 && axis < from.rank()) shape.set(i, from[axis]);
    ++i;
  }
  return k->emit1(Opcode::kTranspose, {x.tile}, {x.tile.dtype(), shape},
                  {permutation.begin(), permutation.end()}, x.where);
}

Tile slice(Operand x, int axis, int64_t start, int64_t extent) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  TileShape shape = x.tile.shape();
  if (axis >= 0 && axis < shape.rank()) shape.set(axis, extent);
  return k->emit1(Opcode::kSlice, {x.tile}, {x.tile.dtype(), shape}, {axis, start}, x.where);
}

Tile concat(Operand a, Operand b, int axis) {
  KernelBuilder* k = builder_of({&a, &b});
  if (k == nullptr) return {};
  const Tile x = detail::need_tile(*k, "concat", "an operand", a),
             y = detail::need_tile(*k, "concat", "an operand", b);
  TileShape shape = x.shape();
  if (axis >= 0 && axis < shape.rank() && axis < y.shape().rank())
    shape.set(axis, x.shape()[axis] + y.shape()[axis]);
  return k->emit1(Opcode::kConcat, {x, y}, {x.dtype(), shape}, {axis}, a.where);
}

std::pair<Tile, Tile> split(Operand x) {
  KernelBuilder* k = builder_of({&x});
  if (k == nullptr) return {};
  // An odd extent is refused by the check; 1 keeps the shape legal until then.
  const TileType half{
      x.tile.dtype(),
      with_last(x.tile.shape(), x.tile.shape().last() > 1 ? x.tile.shape().last() / 2 : 1)};
  const auto halves = k->emit(Opcode::kSplit, {&x.tile, 1}, std::array{half, half}, {}, x.where);
  return {halves[0], halves[1]};
}

Tile join(Operand even, Operand odd) {
  KernelBuilder* k = builder_of({&even, &odd});
  if (k == nullptr) return {};
  const auto unified = detail::unify(*k, "join", {&even, &odd});
  if (!unified) return k->poison();
  const TileShape& half = unified->type.shape;
  return k->emit1(Opcode::kJoin, {unified->tiles[0], unified->tiles[1]},
                  {unified->type.dtype, with_last(half, 2 * half.last())}, {}, even.where);
}

}  // namespace tessera::lang
