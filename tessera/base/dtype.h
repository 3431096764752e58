// SPDX-License-Identifier: Apache-2.0
// Element types of buffers, views and tiles, with their storage sizes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tessera {

enum class DType : uint8_t {
  i1,  // stored as one byte, 0 or 1
  i8,
  u8,
  i16,
  i32,
  u32,
  i64,
  f32,
  f64,
  bf16,
  f16,
  f8e4m3,  // FN: no infinities, largest 448
  f8e5m2,
  f8e8m0,  // a power of two, 2^(byte - 127); 255 is NaN
  f4e2m1,  // two a byte, the LOW nibble is the even element
};

inline constexpr int kDTypeCount = 15;

namespace detail {
struct DTypeInfo {
  std::string_view name;
  uint8_t bits;  // in memory
  bool is_float;
  bool is_signed;
};
inline constexpr std::array<DTypeInfo, kDTypeCount> kDTypeInfo = {{
    {"i1", 8, false, false},
    {"i8", 8, false, true},
    {"u8", 8, false, false},
    {"i16", 16, false, true},
    {"i32", 32, false, true},
    {"u32", 32, false, false},
    {"i64", 64, false, true},
    {"f32", 32, true, true},
    {"f64", 64, true, true},
    {"bf16", 16, true, true},
    {"f16", 16, true, true},
    {"f8e4m3", 8, true, true},
    {"f8e5m2", 8, true, true},
    {"f8e8m0", 8, true, false},
    {"f4e2m1", 4, true, true},
}};
constexpr const DTypeInfo& info(DType type) { return kDTypeInfo[static_cast<uint8_t>(type)]; }
}  // namespace detail

/// Bits of one element in memory.
constexpr int bits(DType type) { return detail::info(type).bits; }

/// Bytes of `elements` consecutive elements, rounded up to whole bytes.
constexpr int64_t size_in_bytes(DType type, int64_t elements) {
  return type == DType::f4e2m1 ? (elements + 1) / 2 : elements * (bits(type) / 8);
}

constexpr std::string_view name(DType type) { return detail::info(type).name; }

constexpr std::optional<DType> parse_dtype(std::string_view text) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (detail::kDTypeInfo[i].name == text) return static_cast<DType>(i);
  return std::nullopt;
}

constexpr bool is_float(DType type) { return detail::info(type).is_float; }
constexpr bool is_int(DType type) { return !is_float(type); }
constexpr bool is_signed(DType type) { return detail::info(type).is_signed; }

}  // namespace tessera
