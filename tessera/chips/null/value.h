// SPDX-License-Identifier: Apache-2.0
// What a traced value holds while the interpreter runs: the elements of a tile in row-major order,
// each in the plain C++ type of its dtype. Storage floats keep their bits; f4 takes a byte an
// element.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "tessera/base/check.h"
#include "tessera/lang/tile_type.h"

namespace tessera::chips::null {

/// Bytes of one element inside a Value.
constexpr size_t element_bytes(DType dtype) {
  return bits(dtype) < 8 ? 1 : static_cast<size_t>(bits(dtype)) / 8;
}

class Value {
 public:
  void set_type(const lang::TileType& type) {
    type_ = type;
    size_ = type.shape.numel();
    bytes_.resize(static_cast<size_t>(size_) * element_bytes(type.dtype));
  }

  const lang::TileType& type() const { return type_; }
  DType dtype() const { return type_.dtype; }
  const lang::TileShape& shape() const { return type_.shape; }
  int64_t size() const { return size_; }
  std::byte* bytes() { return bytes_.data(); }
  const std::byte* bytes() const { return bytes_.data(); }

  template <class T>
  std::span<T> as() {
    TESSERA_CHECK(sizeof(T) == element_bytes(type_.dtype));
    return {reinterpret_cast<T*>(bytes_.data()), static_cast<size_t>(size_)};
  }
  template <class T>
  std::span<const T> as() const {
    TESSERA_CHECK(sizeof(T) == element_bytes(type_.dtype));
    return {reinterpret_cast<const T*>(bytes_.data()), static_cast<size_t>(size_)};
  }

  /// A scalar's value.
  int64_t index() const { return as<int64_t>()[0]; }

  /// Every element gets the low bits of `raw`.
  void fill_raw(uint64_t raw);

 private:
  lang::TileType type_;
  int64_t size_ = 0;
  std::vector<std::byte> bytes_;
};

/// The bits an element of `dtype` has for a constant or fill as a trace holds it (opcode.h).
uint64_t raw_constant(DType dtype, int64_t value);

/// Calls f with a value-initialised element of the C++ type arithmetic on `dtype` is done in.
template <class F>
decltype(auto) visit_arithmetic(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32: return f(float{});
    case DType::i32: return f(int32_t{});
    case DType::u32: return f(uint32_t{});
    case DType::i64: return f(int64_t{});
    default: TESSERA_UNREACHABLE("arithmetic on {}", name(dtype));
  }
}

/// Calls f with an unsigned integer of the width an element has: for operations that only move
/// bits.
template <class F>
decltype(auto) visit_width(DType dtype, F&& f) {
  switch (element_bytes(dtype)) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

}  // namespace tessera::chips::null
