// SPDX-License-Identifier: Apache-2.0
// The oracle is arithmetic on tables of decoded values, independent of the bit code under test.
#include "tessera/base/float_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace tessera {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// The value by its definition, in long double. The exponent field may exceed its bits: the code
/// after the largest one stands for what the next value would be.
long double magnitude_of(int exponent_bits, int mantissa_bits, uint32_t code) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int field = static_cast<int>(code >> mantissa_bits);
  const long double fraction =
      std::ldexp(static_cast<long double>(code & ((1u << mantissa_bits) - 1)), -mantissa_bits);
  return field == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, field - bias);
}

struct Format {
  const char* name;
  int exponent_bits, mantissa_bits;
  uint32_t max_finite, overflow;
  uint32_t (*encode_float)(float);
  uint32_t (*encode_double)(double);
  float (*decode)(uint32_t);

  uint32_t sign() const { return 1u << (exponent_bits + mantissa_bits); }
  long double magnitude(uint32_t code) const {
    return magnitude_of(exponent_bits, mantissa_bits, code);
  }

  /// Nearest even by search among all finite magnitudes; `overflow` beyond the last rounding point.
  uint32_t oracle(long double value) const {
    const uint32_t sign_bit = std::signbit(value) ? sign() : 0;
    const long double wanted = std::fabs(value);
    uint32_t low = 0, high = max_finite;  // low: the largest code that is not above
    while (low < high) {
      const uint32_t middle = (low + high + 1) / 2;
      if (magnitude(middle) <= wanted)
        low = middle;
      else
        high = middle - 1;
    }
    const long double half = (magnitude(low) + magnitude(low + 1)) / 2;
    const bool up = wanted > half || (wanted == half && (low & 1));
    const uint32_t code = low + (up ? 1 : 0);
    return sign_bit | (code > max_finite ? overflow : code);
  }
};

template <auto Encode, auto EncodeDouble, auto Decode>
constexpr Format make(const char* name, int e, int m, uint32_t max_finite, uint32_t overflow) {
  return {name,
          e,
          m,
          max_finite,
          overflow,
          [](float v) -> uint32_t { return Encode(v); },
          [](double v) -> uint32_t { return EncodeDouble(v); },
          [](uint32_t code) { return Decode(code); }};
}

#define TESSERA_FORMAT(f, e, m, max, over)                                                \
  make<[](float v) { return encode_##f(v); }, [](double v) { return encode_##f(v); },     \
       [](uint32_t c) { return decode_##f(static_cast<decltype(encode_##f(0.f))>(c)); }>( \
      #f, e, m, max, over)

const std::vector<Format>& formats() {
  static const std::vector<Format> all = {
      TESSERA_FORMAT(bf16, 8, 7, 0x7f7f, 0x7f80), TESSERA_FORMAT(f16, 5, 10, 0x7bff, 0x7c00),
      TESSERA_FORMAT(e4m3, 4, 3, 0x7e, 0x7e), TESSERA_FORMAT(e5m2, 5, 2, 0x7b, 0x7b),
      TESSERA_FORMAT(e2m1, 2, 1, 7, 7)};
  return all;
}

// Every finite code: value by definition, round trip, the tie above it, and just off the tie.
TEST(FloatFormats, EveryFiniteCode) {
  for (const Format& f : formats()) {
    SCOPED_TRACE(f.name);
    for (uint32_t low = 0; low <= f.max_finite; ++low) {
      const float value = f.decode(low);
      ASSERT_EQ(static_cast<long double>(value), f.magnitude(low)) << low;
      const auto expect = [&](double input, uint32_t code) {
        for (uint32_t sign : {0u, f.sign()}) {
          const double signed_input = sign ? -input : input;
          const uint32_t wanted = sign | (code > f.max_finite ? f.overflow : code);
          ASSERT_EQ(f.encode_double(signed_input), wanted) << signed_input;
          const auto narrow = static_cast<float>(signed_input);
          if (static_cast<double>(narrow) == signed_input) {
            ASSERT_EQ(f.encode_float(narrow), wanted) << signed_input;
          }
        }
      };
      expect(value, low);
      ASSERT_EQ(std::bit_cast<uint32_t>(f.decode(low | f.sign())), std::bit_cast<uint32_t>(-value));
      const auto tie = static_cast<double>((f.magnitude(low) + f.magnitude(low + 1)) / 2);
      expect(tie, low + (low & 1));
      expect(std::nextafter(tie, 0.0), low);
      expect(std::nextafter(tie, HUGE_VAL), low + 1);
      if (const auto narrow = static_cast<float>(tie); static_cast<double>(narrow) == tie) {
        expect(std::nextafter(narrow, 0.0f), low);
        expect(std::nextafter(narrow, kInfinity), low + 1);
      }
    }
  }
}

TEST(FloatFormats, RandomBitsAgreeWithTheOracle) {
  std::mt19937_64 random(1);
  for (const Format& f : formats()) {
    SCOPED_TRACE(f.name);
    for (int i = 0; i < 300'000; ++i) {
      const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
      if (!std::isfinite(value)) continue;
      ASSERT_EQ(f.encode_float(value), f.oracle(value)) << value;
      ASSERT_EQ(f.encode_double(value), f.oracle(value)) << value;
      // A double near the format's range, so that rounding to f32 first would err at times.
      const double wide = std::ldexp(1 + std::ldexp(static_cast<double>(random() >> 12), -52),
                                     static_cast<int>(random() % 40) - 25);
      ASSERT_EQ(f.encode_double(wide), f.oracle(wide)) << wide;
    }
  }
}

TEST(FloatFormats, DoublesAreRoundedOnce) {
  // Just above a tie by less than f32 can hold: rounding twice would give the even neighbour.
  EXPECT_EQ(encode_e4m3(1.0625 + 0x1p-40), 0x39);
  EXPECT_EQ(encode_e4m3(1.0625), 0x38);
  EXPECT_EQ(encode_bf16(1.0 + 0x1p-8 + 0x1p-40), 0x3f81);
  EXPECT_EQ(encode_bf16(1.0 + 0x1p-8), 0x3f80);
  EXPECT_EQ(encode_f16(0x1p-25), 0);  // half of the smallest subnormal
  EXPECT_EQ(encode_f16(0x1p-25 + 0x1p-60), 1);
  EXPECT_EQ(encode_bf16(0x1p-134), 0);
  EXPECT_EQ(encode_bf16(0x1.8p-134), 1);
  EXPECT_EQ(encode_bf16(5e-324), 0);
}

TEST(FloatFormats, SpecialValues) {
  EXPECT_EQ(encode_e4m3(kInfinity), 0x7e);
  EXPECT_EQ(encode_e4m3(-kInfinity), 0xfe);
  EXPECT_EQ(encode_e4m3(448.0f), 0x7e);
  EXPECT_EQ(encode_e4m3(1e30f), 0x7e);
  EXPECT_EQ(encode_e4m3(kNaN), 0x7f);
  EXPECT_EQ(encode_e4m3(-kNaN), 0x7f);
  EXPECT_EQ(encode_e4m3(-0.0f), 0x80);
  EXPECT_EQ(decode_e4m3(0x7e), 448.0f);
  EXPECT_TRUE(std::isnan(decode_e4m3(0x7f)) && std::isnan(decode_e4m3(0xff)));

  EXPECT_EQ(encode_e5m2(kInfinity), 0x7b);
  EXPECT_EQ(encode_e5m2(-1e30f), 0xfb);
  EXPECT_EQ(encode_e5m2(kNaN), 0x7f);
  EXPECT_EQ(decode_e5m2(0x7c), kInfinity);
  EXPECT_EQ(decode_e5m2(0xfc), -kInfinity);
  for (int code : {0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff})
    EXPECT_TRUE(std::isnan(decode_e5m2(static_cast<uint8_t>(code))));

  EXPECT_EQ(encode_e2m1(kInfinity), 7);
  EXPECT_EQ(encode_e2m1(-kInfinity), 0xf);
  EXPECT_EQ(encode_e2m1(kNaN), 7);
  EXPECT_EQ(encode_e2m1(std::copysign(kNaN, -1.0f)), 0xf);
  EXPECT_EQ(encode_e2m1(0.25f), 0);  // ties: 0 | 0.5, 0.5 | 1, 2.5, 5
  EXPECT_EQ(encode_e2m1(0.75f), 2);
  EXPECT_EQ(encode_e2m1(2.5f), 4);
  EXPECT_EQ(encode_e2m1(5.0f), 6);
  EXPECT_EQ(decode_e2m1(0xf7), 6.0f);

  EXPECT_EQ(encode_bf16(kInfinity), 0x7f80);
  EXPECT_EQ(encode_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(encode_f16(65519.0f), 0x7bff);
  EXPECT_EQ(encode_f16(65520.0f), 0x7c00);
  EXPECT_EQ(encode_f16(-kInfinity), 0xfc00);
  static_assert(encode_e4m3(0.3f) == 0x2a && decode_e4m3(0x2a) == 0.3125f);  // at compile time
}

TEST(FloatFormats, NaNsAreQuietedWithTheirPayload) {
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0x7f800001u)), 0x7fc0);
  EXPECT_EQ(encode_bf16(std::bit_cast<float>(0xffaa0000u)), 0xffea);
  EXPECT_EQ(encode_f16(std::bit_cast<float>(0x7f802000u)), 0x7e01);
  EXPECT_EQ(encode_f16(std::bit_cast<double>(uint64_t{0xfff8} << 48)), 0xfe00);
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto half = static_cast<uint16_t>(code);
    if ((half & 0x7fff) > 0x7c00) {
      ASSERT_TRUE(std::isnan(decode_f16(half)));
      ASSERT_EQ(encode_f16(decode_f16(half)), half | 0x200);
    }
    if ((half & 0x7fff) > 0x7f80) {
      ASSERT_TRUE(std::isnan(decode_bf16(half)));
      ASSERT_EQ(encode_bf16(decode_bf16(half)), half | 0x40);
    }
  }
  EXPECT_EQ(decode_f16(0x7c00), kInfinity);
  EXPECT_EQ(encode_f16(decode_f16(0xfc00)), 0xfc00);
}

TEST(FloatFormats, E8m0) {
  for (int code = 0; code < 255; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    const float value = decode_e8m0(byte);
    ASSERT_EQ(static_cast<long double>(value), std::ldexp(1.0L, code - 127));
    ASSERT_EQ(encode_e8m0_ceil(value), code);
    ASSERT_EQ(encode_e8m0(value), code);
    const int next = code == 254 ? 254 : code + 1;
    ASSERT_EQ(encode_e8m0_ceil(std::nextafter(value, kInfinity)), next);
    ASSERT_EQ(encode_e8m0_ceil(std::nextafter(value, 0.0f)), code);
    const double tie = 1.5 * value;
    ASSERT_EQ(encode_e8m0(tie), code % 2 ? next : code);
    ASSERT_EQ(encode_e8m0(std::nextafter(tie, 0.0)), code);
    ASSERT_EQ(encode_e8m0(std::nextafter(tie, HUGE_VAL)), next);
  }
  EXPECT_TRUE(std::isnan(decode_e8m0(255)));
  EXPECT_EQ(encode_e8m0_ceil(0.0f), 0);
  EXPECT_EQ(encode_e8m0_ceil(-5.0f), 0);
  EXPECT_EQ(encode_e8m0_ceil(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(encode_e8m0_ceil(kInfinity), 254);
  EXPECT_EQ(encode_e8m0_ceil(kNaN), 255);
  EXPECT_EQ(encode_e8m0_ceil(-kNaN), 255);
  EXPECT_EQ(encode_e8m0(0.0), 0);
  EXPECT_EQ(encode_e8m0(-3.0), 0);
  EXPECT_EQ(encode_e8m0(1e300), 254);
  EXPECT_EQ(encode_e8m0(static_cast<double>(kNaN)), 255);
}

/// ceil(log2(amax / largest)) by exact comparison of long doubles (64-bit mantissa: products
/// exact).
int scale_oracle(float amax, long double largest) {
  int exponent = std::ilogb(amax) - std::ilogb(largest) - 2;
  while (std::ldexp(largest, exponent) < static_cast<long double>(amax)) ++exponent;
  return exponent;
}

void expect_scale(float amax) {
  for (auto [type, largest] :
       {std::pair{DType::f8e4m3, 448.0L}, {DType::f8e5m2, 57344.0L}, {DType::f4e2m1, 6.0L}}) {
    const int exponent = scale_oracle(amax, largest);
    ASSERT_EQ(pow2_scale_exponent(amax, type), exponent) << amax << ' ' << name(type);
    const int code = std::max(0, exponent + 127);
    ASSERT_EQ(pow2_scale_e8m0(amax, type), code) << amax;
    ASSERT_EQ(static_cast<long double>(pow2_scale(amax, type)), std::ldexp(1.0L, code - 127));
  }
}

TEST(Pow2Scale, EveryBf16AndItsNeighbours) {
  for (uint32_t code = 1; code < 0x7f80; ++code) {
    const float amax = decode_bf16(static_cast<uint16_t>(code));
    expect_scale(amax);
    expect_scale(std::nextafter(amax, 0.0f) > 0 ? std::nextafter(amax, 0.0f) : amax);
    expect_scale(std::nextafter(amax, kInfinity));
  }
}

TEST(Pow2Scale, MillionsOfFloats) {
  for (uint32_t bits = 1; bits < 0x7f800000u; bits += 1009)
    expect_scale(std::bit_cast<float>(bits));
}

TEST(Pow2Scale, Edges) {
  EXPECT_EQ(pow2_scale(448.0f, DType::f8e4m3), 1.0f);
  EXPECT_EQ(pow2_scale(std::nextafter(448.0f, kInfinity), DType::f8e4m3), 2.0f);
  EXPECT_EQ(pow2_scale(6.0f, DType::f4e2m1), 1.0f);
  EXPECT_EQ(pow2_scale(-6.5f, DType::f4e2m1), 2.0f);
  EXPECT_EQ(pow2_scale_e8m0(0.0f, DType::f8e4m3), 0);
  EXPECT_EQ(pow2_scale_e8m0(kInfinity, DType::f8e4m3), 255);
  EXPECT_EQ(pow2_scale_e8m0(kNaN, DType::f4e2m1), 255);
  EXPECT_EQ(pow2_scale_exponent(std::numeric_limits<float>::denorm_min(), DType::f8e4m3), -157);
}

TEST(FloatFormats, Fp4TimesScale) {
  for (int scale = 0; scale < 256; ++scale) {
    for (int code = 0; code < 16; ++code) {
      const float got = decode_e2m1_scaled(static_cast<uint8_t>(code), static_cast<uint8_t>(scale));
      const uint16_t bf16 =
          decode_e2m1_scaled_bf16(static_cast<uint8_t>(code), static_cast<uint8_t>(scale));
      if (scale == 255) {
        ASSERT_TRUE(std::isnan(got) && std::isnan(decode_bf16(bf16)));
        continue;
      }
      const long double sign = code & 8 ? -1 : 1;
      const long double exact =
          sign * std::ldexp(magnitude_of(2, 1, static_cast<uint32_t>(code & 7)), scale - 127);
      if (std::fabs(exact) >= 0x1p128L) {
        ASSERT_EQ(got, static_cast<float>(sign) * kInfinity) << code << ' ' << scale;
      } else {
        ASSERT_EQ(static_cast<long double>(got), exact) << code << ' ' << scale;
      }
      ASSERT_EQ(std::signbit(got), (code & 8) != 0);
      ASSERT_EQ(std::bit_cast<uint32_t>(decode_bf16(bf16)), std::bit_cast<uint32_t>(got));
    }
  }
}

}  // namespace
}  // namespace tessera
