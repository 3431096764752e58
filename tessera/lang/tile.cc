// SPDX-License-Identifier: Apache-2.0
#include "tessera/lang/tile.h"

#include "tessera/lang/kernel_builder.h"
#include "tessera/lang/operands.h"

namespace tessera::lang {
namespace {

const TileType& type_of(const Tile& tile) {
  static const TileType kNone;
  return tile.is_poison() || tile.builder() == nullptr ? kNone : tile.builder()->type(tile.id());
}

}  // namespace

DType Tile::dtype() const { return type_of(*this).dtype; }

const TileShape& Tile::shape() const { return type_of(*this).shape; }

DType View::dtype() const {
  return builder_ == nullptr ? DType::f32 : builder_->decl(index_).dtype;
}

Tile View::extent(int dim, std::source_location at) const {
  if (builder_ == nullptr) return {};
  if (dim >= 0 && dim < rank_ && overrides_[static_cast<size_t>(dim)] >= 0)
    return Tile(builder_, overrides_[static_cast<size_t>(dim)]);
  return builder_->emit1(Opcode::kExtent, {}, {DType::i64, {}}, {index_, dim}, at);
}

View View::bounded(int dim, Operand extent) const {
  if (builder_ == nullptr) return *this;
  View view = *this;
  if (dim < 0 || dim >= rank_) {
    builder_->mistake(extent.where, "bounded: dimension " + std::to_string(dim) + " of view '" +
                                        builder_->decl(index_).name + "', which has " +
                                        std::to_string(rank_));
    return view;
  }
  view.overrides_[static_cast<size_t>(dim)] =
      detail::as_index(*builder_, "bounded", "the extent", extent).id();
  return view;
}

}  // namespace tessera::lang
