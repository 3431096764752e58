// SPDX-License-Identifier: Apache-2.0
// Static type of a value in a kernel: element type and shape. Rank 0 is a scalar.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tessera/base/dtype.h"

namespace tessera::lang {

/// Extents of a tile; each is a power of two. At most three dimensions and kMaxElements elements.
class TileShape {
 public:
  static constexpr int kMaxRank = 3;
  static constexpr int64_t kMaxElements = int64_t{1} << 20;

  constexpr TileShape() = default;
  constexpr TileShape(std::initializer_list<int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }

  constexpr int rank() const { return rank_; }
  constexpr int64_t operator[](int i) const { return dims_[i]; }
  constexpr void set(int i, int64_t extent) { dims_[i] = extent; }
  constexpr int64_t last() const { return rank_ == 0 ? 1 : dims_[stored() - 1]; }
  constexpr int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < stored(); ++i) n *= dims_[i];
    return n;
  }
  /// Ranks above kMaxRank are remembered as such so that the tracer can report them.
  constexpr void push_back(int64_t extent) {
    if (rank_ < kMaxRank) dims_[rank_] = extent;
    ++rank_;
  }
  constexpr bool operator==(const TileShape& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < stored(); ++i)
      if (dims_[i] != other.dims_[i]) return false;
    return true;
  }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(stored())}; }
  /// What is wrong with the shape, or empty.
  std::string defect() const;
  std::string to_string() const;  // "[64, 128]"

 private:
  constexpr int stored() const { return rank_ < kMaxRank ? rank_ : kMaxRank; }

  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

struct TileType {
  DType dtype = DType::f32;
  TileShape shape;

  bool operator==(const TileType&) const = default;
  std::string to_string() const;  // "f32[64, 128]"; scalars: "i64"
};

}  // namespace tessera::lang
