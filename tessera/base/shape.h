// SPDX-License-Identifier: Apache-2.0
// Shape: up to four extents, no allocation. Rank 0 is a scalar (one element).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tessera/base/check.h"

namespace tessera {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<int64_t> extents)
      : Shape(std::span<const int64_t>(extents.begin(), extents.size())) {}
  constexpr explicit Shape(std::span<const int64_t> extents)
      : rank_(static_cast<int>(extents.size())) {
    TESSERA_CHECK(extents.size() <= kMaxRank, "rank {} is above {}", extents.size(), kMaxRank);
    for (int i = 0; i < rank_; ++i) {
      TESSERA_CHECK(extents[i] >= 0, "extent {} is negative: {}", i, extents[i]);
      extents_[i] = extents[i];
    }
  }

  constexpr int rank() const { return rank_; }
  constexpr size_t size() const { return static_cast<size_t>(rank_); }

  /// A negative index counts from the end: shape[-1] is the innermost extent.
  constexpr int64_t operator[](int index) const { return extents_[at(index)]; }
  constexpr int64_t& operator[](int index) { return extents_[at(index)]; }

  constexpr const int64_t* begin() const { return extents_.data(); }
  constexpr const int64_t* end() const { return extents_.data() + rank_; }
  constexpr std::span<const int64_t> extents() const { return {begin(), size()}; }

  constexpr int64_t numel() const {
    int64_t count = 1;
    for (int64_t extent : extents()) count *= extent;
    return count;
  }

  /// Strides in elements of the dense row-major layout.
  constexpr std::array<int64_t, kMaxRank> dense_strides() const {
    std::array<int64_t, kMaxRank> strides{};
    int64_t stride = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      strides[i] = stride;
      stride *= extents_[i];
    }
    return strides;
  }

  constexpr bool operator==(const Shape&) const = default;  // extents beyond rank stay 0

  /// "[2, 3]"; a scalar is "[]".
  std::string to_string() const {
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) text += fmt::format("{}{}", i ? ", " : "", extents_[i]);
    return text + "]";
  }

 private:
  constexpr int at(int index) const {
    const int i = index < 0 ? index + rank_ : index;
    TESSERA_CHECK(i >= 0 && i < rank_, "dimension {} of a shape of rank {}", index, rank_);
    return i;
  }
  int rank_ = 0;
  std::array<int64_t, kMaxRank> extents_{};
};

}  // namespace tessera
