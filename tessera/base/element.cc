// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/element.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/base/check.h"
#include "tessera/base/float_formats.h"

namespace tessera {
namespace {

// Buffers may hold any type at any alignment, hence memcpy.
template <class T>
T get(const void* base, int64_t index) {
  T value;
  std::memcpy(&value, static_cast<const char*>(base) + index * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void put(void* base, int64_t index, T value) {
  std::memcpy(static_cast<char*>(base) + index * sizeof(T), &value, sizeof(T));
}

uint8_t get_nibble(const void* base, int64_t index) {
  return (get<uint8_t>(base, index / 2) >> (index % 2 * 4)) & 0xf;
}

void put_nibble(void* base, int64_t index, uint8_t code) {
  const int shift = static_cast<int>(index % 2) * 4;
  const uint8_t byte = get<uint8_t>(base, index / 2);
  put(base, index / 2, static_cast<uint8_t>((byte & (0xf0 >> shift)) | (code << shift)));
}

template <class T>
T saturate(double value) {
  if (std::isnan(value)) return 0;
  // The bounds as doubles: max + 1 is a power of two, so exact even for i64.
  constexpr double kBelow = static_cast<double>(std::numeric_limits<T>::min());
  constexpr double kAbove = 2.0 * static_cast<double>(std::numeric_limits<T>::max() / 2 + 1);
  if (value <= kBelow) return std::numeric_limits<T>::min();
  if (value >= kAbove) return std::numeric_limits<T>::max();
  return static_cast<T>(value);
}

/// A double that rounds to the same code as `value` in every format of at most 24 significant bits:
/// what does not fit becomes a sticky lowest bit ("round to odd").
double to_double_sticky(int64_t value) {
  const bool negative = value < 0;
  uint64_t magnitude = negative ? -static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  if (const int extra = 64 - std::countl_zero(magnitude) - 53; extra > 0) {
    const uint64_t lost = magnitude & ((uint64_t{1} << extra) - 1);
    magnitude = (magnitude - lost) | (lost ? uint64_t{1} << extra : 0);
  }
  const double result = static_cast<double>(magnitude);
  return negative ? -result : result;
}

}  // namespace

float load_as_float(DType type, const void* base, int64_t index) {
  switch (type) {
    case DType::i64: return static_cast<float>(get<int64_t>(base, index));
    default: return static_cast<float>(load_as_double(type, base, index));
  }
}

double load_as_double(DType type, const void* base, int64_t index) {
  switch (type) {
    case DType::f32: return get<float>(base, index);
    case DType::f64: return get<double>(base, index);
    case DType::bf16: return decode_bf16(get<uint16_t>(base, index));
    case DType::f16: return decode_f16(get<uint16_t>(base, index));
    case DType::f8e4m3: return decode_e4m3(get<uint8_t>(base, index));
    case DType::f8e5m2: return decode_e5m2(get<uint8_t>(base, index));
    case DType::f8e8m0: return decode_e8m0(get<uint8_t>(base, index));
    case DType::f4e2m1: return decode_e2m1(get_nibble(base, index));
    default: return static_cast<double>(load_as_int(type, base, index));
  }
}

int64_t load_as_int(DType type, const void* base, int64_t index) {
  switch (type) {
    case DType::i1: return get<uint8_t>(base, index) != 0;
    case DType::i8: return get<int8_t>(base, index);
    case DType::u8: return get<uint8_t>(base, index);
    case DType::i16: return get<int16_t>(base, index);
    case DType::i32: return get<int32_t>(base, index);
    case DType::u32: return get<uint32_t>(base, index);
    case DType::i64: return get<int64_t>(base, index);
    default: TESSERA_UNREACHABLE("integer load of {}", name(type));
  }
}

void store_from_double(DType type, void* base, int64_t index, double value) {
  switch (type) {
    case DType::i1: return put<uint8_t>(base, index, value != 0 && !std::isnan(value));
    case DType::i8: return put(base, index, saturate<int8_t>(value));
    case DType::u8: return put(base, index, saturate<uint8_t>(value));
    case DType::i16: return put(base, index, saturate<int16_t>(value));
    case DType::i32: return put(base, index, saturate<int32_t>(value));
    case DType::u32: return put(base, index, saturate<uint32_t>(value));
    case DType::i64: return put(base, index, saturate<int64_t>(value));
    case DType::f32: return put(base, index, static_cast<float>(value));
    case DType::f64: return put(base, index, value);
    case DType::bf16: return put(base, index, encode_bf16(value));
    case DType::f16: return put(base, index, encode_f16(value));
    case DType::f8e4m3: return put(base, index, encode_e4m3(value));
    case DType::f8e5m2: return put(base, index, encode_e5m2(value));
    case DType::f8e8m0: return put(base, index, encode_e8m0(value));
    case DType::f4e2m1: return put_nibble(base, index, encode_e2m1(value));
  }
  TESSERA_UNREACHABLE("dtype {}", static_cast<int>(type));
}

void store_from_int(DType type, void* base, int64_t index, int64_t value) {
  switch (type) {
    case DType::i1: return put<uint8_t>(base, index, value != 0);
    case DType::i8:
    case DType::u8: return put(base, index, static_cast<uint8_t>(value));
    case DType::i16: return put(base, index, static_cast<uint16_t>(value));
    case DType::i32:
    case DType::u32: return put(base, index, static_cast<uint32_t>(value));
    case DType::i64: return put(base, index, value);
    case DType::f64: return put(base, index, static_cast<double>(value));
    default: return store_from_double(type, base, index, to_double_sticky(value));
  }
}

}  // namespace tessera
