// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <type_traits>

#include "tessera/base/float_formats.h"
#include "tessera/chips/null/operations.h"

namespace tessera::chips::null {
namespace {

template <class T, class U, class F>
void convert(const Value& from, Value& to, F f) {
  const auto x = from.as<T>();
  const auto y = to.as<U>();
  for (size_t i = 0; i < y.size(); ++i) y[i] = static_cast<U>(f(x[i]));
}

void encode(const Value& from, Value& to) {
  switch (to.dtype()) {
    case DType::bf16:
      return convert<float, uint16_t>(from, to, [](float v) { return encode_bf16(v); });
    case DType::f16:
      return convert<float, uint16_t>(from, to, [](float v) { return encode_f16(v); });
    case DType::f8e4m3:
      return convert<float, uint8_t>(from, to, [](float v) { return encode_e4m3(v); });
    case DType::f8e5m2:
      return convert<float, uint8_t>(from, to, [](float v) { return encode_e5m2(v); });
    case DType::f8e8m0:
      return convert<float, uint8_t>(from, to, [](float v) { return encode_e8m0(v); });
    case DType::f4e2m1:
      return convert<float, uint8_t>(from, to, [](float v) { return encode_e2m1(v); });
    default: TESSERA_UNREACHABLE("{} is no storage float", name(to.dtype()));
  }
}

/// Toward zero. Values out of range are undefined in the language; here they saturate and NaN gives
/// 0.
template <class U>
U truncate(float v) {
  if (std::isnan(v)) return 0;
  if (v <= static_cast<float>(std::numeric_limits<U>::min())) return std::numeric_limits<U>::min();
  if (v >= static_cast<float>(std::numeric_limits<U>::max())) return std::numeric_limits<U>::max();
  return static_cast<U>(v);
}

/// T to an arithmetic type.
template <class T>
void widen(const Value& from, Value& to) {
  visit_arithmetic(to.dtype(), [&]<class U>(U) {
    convert<T, U>(from, to, [](T v) {
      if constexpr (std::is_floating_point_v<T> && std::is_integral_v<U>) return truncate<U>(v);
      return static_cast<U>(v);
    });
  });
}

}  // namespace

void decode_floats(const Value& from, std::vector<float>& to) {
  to.resize(static_cast<size_t>(from.size()));
  const auto read = [&]<class T>(T, auto decode) {
    const auto x = from.as<T>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = decode(x[i]);
  };
  switch (from.dtype()) {
    case DType::f32: return read(float{}, [](float v) { return v; });
    case DType::bf16: return read(uint16_t{}, [](uint16_t v) { return decode_bf16(v); });
    case DType::f16: return read(uint16_t{}, [](uint16_t v) { return decode_f16(v); });
    case DType::f8e4m3: return read(uint8_t{}, [](uint8_t v) { return decode_e4m3(v); });
    case DType::f8e5m2: return read(uint8_t{}, [](uint8_t v) { return decode_e5m2(v); });
    case DType::f8e8m0: return read(uint8_t{}, [](uint8_t v) { return decode_e8m0(v); });
    case DType::f4e2m1: return read(uint8_t{}, [](uint8_t v) { return decode_e2m1(v); });
    default: TESSERA_UNREACHABLE("{} is no float", name(from.dtype()));
  }
}

void evaluate_cast(const Value& from, Value& to) {
  switch (from.dtype()) {
    case DType::i1: return widen<uint8_t>(from, to);
    case DType::u8: return widen<uint8_t>(from, to);
    case DType::i8: return widen<int8_t>(from, to);
    case DType::i16: return widen<int16_t>(from, to);
    case DType::i64: return widen<int64_t>(from, to);
    case DType::u32: return widen<uint32_t>(from, to);
    case DType::i32:
      switch (to.dtype()) {
        case DType::i8:
        case DType::u8: return convert<int32_t, uint8_t>(from, to, [](int32_t v) { return v; });
        case DType::i16: return convert<int32_t, uint16_t>(from, to, [](int32_t v) { return v; });
        default: return widen<int32_t>(from, to);
      }
    case DType::f32:
      if (to.dtype() == DType::i32 || to.dtype() == DType::u32 || to.dtype() == DType::i64)
        return widen<float>(from, to);
      return encode(from, to);
    default: {
      std::vector<float> numbers;
      decode_floats(from, numbers);
      std::memcpy(to.bytes(), numbers.data(), numbers.size() * sizeof(float));
    }
  }
}

}  // namespace tessera::chips::null
