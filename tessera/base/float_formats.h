// SPDX-License-Identifier: Apache-2.0
// Exact scalar conversions between f32 / f64 and the small float formats, in integer code only, so
// that they mean the same on every chip and can be evaluated at compile time.
//
// Encoding rounds once, to nearest even, and keeps subnormals:
//   bf16, f16   overflow to infinity; a NaN is quieted, its sign and upper payload bits stay
//   e4m3 (FN)   finite values and infinities saturate to +-448; NaN becomes 0x7f
//   e5m2        finite values and infinities saturate to +-57344; NaN becomes 0x7f
//   e2m1        finite values and infinities saturate to +-6; NaN becomes 6 with the NaN's sign
//   e8m0        2^(byte - 127), byte 0 = 2^-127, 255 = NaN
// Scales are computed from exponent and mantissa bits (448 = 1.75 x 2^8, 6 = 1.5 x 2^2), never by
// division and logarithm.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <limits>

#include "tessera/base/check.h"
#include "tessera/base/dtype.h"

namespace tessera {
namespace detail {

struct FloatFormat {
  int exponent_bits, mantissa_bits;
  uint32_t max_finite;  // code of the largest finite magnitude
  uint32_t overflow;    // code for magnitudes that round beyond it, and for infinity
  uint32_t nan;
  bool keep_nan_payload;

  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr uint32_t sign_bit() const { return 1u << (exponent_bits + mantissa_bits); }
};

inline constexpr FloatFormat kBf16{8, 7, 0x7f7f, 0x7f80, 0x7fc0, true};
inline constexpr FloatFormat kF16{5, 10, 0x7bff, 0x7c00, 0x7e00, true};
inline constexpr FloatFormat kE4m3{4, 3, 0x7e, 0x7e, 0x7f, false};
inline constexpr FloatFormat kE5m2{5, 2, 0x7b, 0x7b, 0x7f, false};
inline constexpr FloatFormat kE2m1{2, 1, 0x7, 0x7, 0x7, false};

template <std::floating_point Float>
struct Parts;  // the layout of a source type
template <>
struct Parts<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23, kBias = 127;
};
template <>
struct Parts<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023;
};

template <FloatFormat F, std::floating_point Float>
constexpr uint32_t encode(Float value) {
  using P = Parts<Float>;
  using Bits = typename P::Bits;
  constexpr int kWidth = std::numeric_limits<Bits>::digits;
  constexpr Bits kMantissaMask = (Bits{1} << P::kMantissa) - 1;
  const Bits raw = std::bit_cast<Bits>(value);
  const uint32_t sign = (raw >> (kWidth - 1)) ? F.sign_bit() : 0;
  const int field = static_cast<int>((raw >> P::kMantissa) & (2 * P::kBias + 1));
  Bits mantissa = raw & kMantissaMask;

  if (field == 2 * P::kBias + 1) {
    if (mantissa == 0) return sign | F.overflow;
    if constexpr (F.keep_nan_payload)
      return sign | F.nan | static_cast<uint32_t>(mantissa >> (P::kMantissa - F.mantissa_bits));
    // One NaN code, except in e2m1, which has none and answers with the NaN's sign and 6.
    return F.nan == F.max_finite ? sign | F.nan : F.nan;
  }
  int exponent = 1 - P::kBias;  // a subnormal source has the exponent of the smallest normal
  if (field != 0) {
    exponent = field - P::kBias;
    mantissa |= Bits{1} << P::kMantissa;
  }
  constexpr int kMinExponent = 1 - F.bias();
  const int rounded_exponent = exponent < kMinExponent ? kMinExponent : exponent;
  if (rounded_exponent > F.bias() + 1) return sign | F.overflow;
  const int shift = rounded_exponent - exponent + P::kMantissa - F.mantissa_bits;
  if (shift > P::kMantissa + 1) return sign;  // below half of the smallest subnormal
  const Bits kept = mantissa >> shift;
  const Bits rest = mantissa & ((Bits{1} << shift) - 1);
  const Bits half = Bits{1} << (shift - 1);
  const bool up = rest > half || (rest == half && (kept & 1));
  // A carry out of the mantissa raises the exponent field, which is what rounding wants.
  const uint32_t code =
      (static_cast<uint32_t>(rounded_exponent + F.bias() - 1) << F.mantissa_bits) +
      static_cast<uint32_t>(kept) + (up ? 1 : 0);
  return sign | (code > F.max_finite ? F.overflow : code);
}

template <FloatFormat F>
constexpr float decode(uint32_t code) {
  const uint32_t sign = (code & F.sign_bit()) ? 0x80000000u : 0;
  const uint32_t magnitude = code & (F.sign_bit() - 1);
  if (magnitude > F.max_finite) {
    if (F.overflow != F.max_finite && magnitude == F.overflow)
      return std::bit_cast<float>(sign | 0x7f800000u);
    const uint32_t payload = magnitude & ((1u << F.mantissa_bits) - 1);
    return std::bit_cast<float>(sign | 0x7fc00000u | (payload << (23 - F.mantissa_bits)));
  }
  const uint32_t field = magnitude >> F.mantissa_bits;
  uint32_t mantissa = (magnitude & ((1u << F.mantissa_bits) - 1)) << (23 - F.mantissa_bits);
  if (field == 0) {
    if (mantissa == 0) return std::bit_cast<float>(sign);
    const int shift = std::countl_zero(mantissa) - 8;  // until the implicit bit is set
    mantissa = (mantissa << shift) & 0x7fffffu;
    return std::bit_cast<float>(sign | static_cast<uint32_t>(128 - F.bias() - shift) << 23 |
                                mantissa);
  }
  return std::bit_cast<float>(sign | (field + 127 - F.bias()) << 23 | mantissa);
}

}  // namespace detail

// --- bf16, f16 ---

constexpr uint16_t encode_bf16(std::floating_point auto value) {
  return static_cast<uint16_t>(detail::encode<detail::kBf16>(value));
}
constexpr float decode_bf16(uint16_t code) {
  return std::bit_cast<float>(static_cast<uint32_t>(code) << 16);
}

constexpr uint16_t encode_f16(std::floating_point auto value) {
  return static_cast<uint16_t>(detail::encode<detail::kF16>(value));
}
constexpr float decode_f16(uint16_t code) { return detail::decode<detail::kF16>(code); }

// --- e4m3, e5m2, e2m1 ---

constexpr uint8_t encode_e4m3(std::floating_point auto value) {
  return static_cast<uint8_t>(detail::encode<detail::kE4m3>(value));
}
constexpr float decode_e4m3(uint8_t code) { return detail::decode<detail::kE4m3>(code); }

constexpr uint8_t encode_e5m2(std::floating_point auto value) {
  return static_cast<uint8_t>(detail::encode<detail::kE5m2>(value));
}
/// Codes 0x7c and 0xfc are infinities (which encode_e5m2 never makes).
constexpr float decode_e5m2(uint8_t code) {
  return detail::decode<detail::kF16>(static_cast<uint32_t>(code) << 8);
}

/// The code is in the low nibble, the upper four bits are zero.
constexpr uint8_t encode_e2m1(std::floating_point auto value) {
  return static_cast<uint8_t>(detail::encode<detail::kE2m1>(value));
}
/// Ignores the upper nibble.
constexpr float decode_e2m1(uint8_t code) { return detail::decode<detail::kE2m1>(code & 0xf); }

// --- e8m0 ---

constexpr float decode_e8m0(uint8_t code) {
  if (code == 255) return std::bit_cast<float>(0x7fc00000u);
  return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<uint32_t>(code) << 23);
}

/// The smallest power of two that is >= value. Values <= 2^-127 (zero and negative ones too) give
/// code 0, values above 2^127 give 254, NaN gives 255.
constexpr uint8_t encode_e8m0_ceil(float value) {
  const uint32_t raw = std::bit_cast<uint32_t>(value);
  if ((raw & 0x7fffffffu) > 0x7f800000u) return 255;
  if (raw & 0x80000000u) return 0;
  const uint32_t field = raw >> 23, mantissa = raw & 0x7fffffu;
  if (field == 0) return mantissa > 0x400000u ? 1 : 0;
  const uint32_t code = field + (mantissa != 0 ? 1 : 0);
  return static_cast<uint8_t>(code > 254 ? 254 : code);
}

/// The nearest power of two; half way between two goes to the even code. Out of range and NaN as in
/// encode_e8m0_ceil.
constexpr uint8_t encode_e8m0(double value) {
  const uint64_t raw = std::bit_cast<uint64_t>(value);
  if ((raw & ~(uint64_t{1} << 63)) > uint64_t{0x7ff} << 52) return 255;
  if (raw >> 63) return 0;
  const int code = static_cast<int>(raw >> 52) - 1023 + 127;  // a subnormal double is far below 0
  if (code < 0) return 0;
  const uint64_t mantissa = raw & ((uint64_t{1} << 52) - 1), half = uint64_t{1} << 51;
  const int rounded = code + (mantissa > half || (mantissa == half && (code & 1)) ? 1 : 0);
  return static_cast<uint8_t>(rounded > 254 ? 254 : rounded);
}

// --- power-of-two scales ---

/// ceil(log2(amax / largest)) for a positive finite amax, exact for every f32 (subnormals too).
/// `target` names the format to be scaled into: f8e4m3 (largest 448), f8e5m2 (57344), f4e2m1 (6).
constexpr int pow2_scale_exponent(float amax, DType target) {
  uint32_t raw = std::bit_cast<uint32_t>(amax);
  TESSERA_CHECK(raw != 0 && raw < 0x7f800000u, "amax must be positive and finite");
  int exponent = static_cast<int>(raw >> 23) - 127;
  uint32_t mantissa = raw & 0x7fffffu;
  if (exponent == -127) {
    const int shift = std::countl_zero(mantissa) - 8;
    exponent = -126 - shift;
    mantissa = (mantissa << shift) & 0x7fffffu;
  }
  switch (target) {
    case DType::f8e4m3: return exponent - 8 + (mantissa > 0x600000u ? 1 : 0);   // 1.75 x 2^8
    case DType::f8e5m2: return exponent - 15 + (mantissa > 0x600000u ? 1 : 0);  // 1.75 x 2^15
    case DType::f4e2m1: return exponent - 2 + (mantissa > 0x400000u ? 1 : 0);   // 1.5 x 2^2
    default: break;
  }
  TESSERA_UNREACHABLE("no power-of-two scale for {}", name(target));
}

/// The scale 2^ceil(log2(amax / largest)) as an e8m0 code. The sign of amax is ignored; 0 and
/// scales below 2^-127 give code 0; infinity and NaN give 255.
constexpr uint8_t pow2_scale_e8m0(float amax, DType target) {
  const uint32_t raw = std::bit_cast<uint32_t>(amax) & 0x7fffffffu;
  if (raw >= 0x7f800000u) return 255;
  if (raw == 0) return 0;
  const int code = pow2_scale_exponent(std::bit_cast<float>(raw), target) + 127;
  return static_cast<uint8_t>(code < 0 ? 0 : code);
}

/// The same as a float; always what decode_e8m0(pow2_scale_e8m0(...)) gives.
constexpr float pow2_scale(float amax, DType target) {
  return decode_e8m0(pow2_scale_e8m0(amax, target));
}

// --- block-scaled FP4 ---

/// e2m1 value x e8m0 scale, exact: overflow is infinity, scale 255 is NaN, the smallest results are
/// f32 (and bf16) subnormals.
constexpr float decode_e2m1_scaled(uint8_t code, uint8_t scale) {
  if (scale == 255) return std::bit_cast<float>(0x7fc00000u);
  const uint32_t sign = static_cast<uint32_t>(code & 8) << 28;
  const int magnitude = code & 7;
  if (magnitude == 0) return std::bit_cast<float>(sign);
  // 0.5 is 1.0 x 2^-1; all others are normal.
  const int exponent = (magnitude == 1 ? -1 : (magnitude >> 1) - 1) + scale - 127;
  const uint32_t mantissa = magnitude > 1 && (magnitude & 1) ? 0x400000u : 0;
  if (exponent > 127) return std::bit_cast<float>(sign | 0x7f800000u);
  if (exponent < -126)
    return std::bit_cast<float>(sign | (0x800000u | mantissa) >> (-126 - exponent));
  return std::bit_cast<float>(sign | static_cast<uint32_t>(exponent + 127) << 23 | mantissa);
}

/// The same as a bf16 code; exact too.
constexpr uint16_t decode_e2m1_scaled_bf16(uint8_t code, uint8_t scale) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(decode_e2m1_scaled(code, scale)) >> 16);
}

// --- block-scaled FP8 ---

/// e4m3 value x e8m0 scale, exact in f32: overflow is infinity, codes 0x7f and 0xff and scale 255
/// are NaN.
constexpr float decode_e4m3_scaled(uint8_t code, uint8_t scale) {
  if (scale == 255 || (code & 0x7f) == 0x7f) return std::bit_cast<float>(0x7fc00000u);
  // A product of a 4-bit significand with a power of two: nothing is rounded, 2^-136 at least.
  return decode_e4m3(code) * decode_e8m0(scale);
}

}  // namespace tessera
