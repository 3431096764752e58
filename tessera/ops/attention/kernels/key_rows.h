// SPDX-License-Identifier: Apache-2.0
// The cache rows a token attends to, keys and values at once: plain, or quantised and decoded where
// they are used.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tessera/ops/attention/kernels/quantised_row.h"
#include "tessera/ops/frame/operator.h"
#include "tessera/ops/tiling.h"

namespace tessera::ops {

class KeyRows {
 public:
  /// The arguments behind them: kv, or the parts of kv_quantised.
  static std::vector<Arg> args(const PlanBuilder& b) {
    if (b.has("kv")) return {b.tensor("kv")};
    const QuantisedRow row{b.dim("D")};
    const Arg kv = b.tensor("kv_quantised");
    return {named(row.all_bytes_as_codes(kv), "codes"), named(row.rope(kv), "rope"),
            named(row.scales(kv), "scales")};
  }
  static std::string suffix(const PlanBuilder& b) { return b.has("kv") ? "" : "_quantised"; }

  /// Of `width` columns, whose views are among these.
  KeyRows(const NamedViews& views, int64_t width, DType dtype)
      : quantised_(views.has("codes")), width_(width), dtype_(dtype) {
    if (quantised_)
      codes_ = views["codes"], rope_ = views["rope"], scales_ = views["scales"];
    else
      kv_ = views["kv"];
  }

  /// All columns of the rows of `index`.
  Tile at(KernelBuilder& k, Tile index) const { return at(k, index, k.index(0), width_); }
  /// `columns` of them, a power of two, from `first` on, a multiple of it.
  Tile at(KernelBuilder& k, Tile index, Tile first, int64_t columns) const {
    if (!quantised_) return gather(kv_, {0, first}, index, columns);
    constexpr int64_t kBlock = QuantisedRow::kBlock;
    const int64_t keys = index.shape()[0], block = std::min(columns, kBlock),
                  blocks = columns / block;
    const TileShape shape = {keys, blocks, block};
    // The last block's codes are other bytes of the row; its values are the ones with rope.
    const Tile last = k.index(width_ - kBlock), block0 = first / kBlock;
    const Tile codes = gather(codes_, {0, first}, index, columns);
    const Tile scales = gather(scales_, {0, block0}, index, blocks, 1);
    const Tile rope = gather(rope_, {0, max(first - last, 0)}, index, block);
    const Tile scaled = to_f32(reshape(codes, shape)) * reshape(to_f32(scales), {keys, blocks, 1});
    const Tile number = k.iota({1, blocks, 1}, 1) + cast(block0, DType::i32);
    const Tile is_last = number == static_cast<int>(width_ / kBlock - 1);
    const Tile all = select(is_last, to_f32(reshape(rope, {keys, 1, block})), scaled);
    return cast(reshape(all, {keys, columns}), dtype_);
  }

 private:
  static Arg named(Arg arg, std::string name) {
    arg.name = std::move(name);
    return arg;
  }

  View kv_, codes_, rope_, scales_;
  bool quantised_;
  int64_t width_;
  DType dtype_;
};

}  // namespace tessera::ops
