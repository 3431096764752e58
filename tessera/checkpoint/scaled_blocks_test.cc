// SPDX-License-Identifier: Apache-2.0
// Every code under every scale, against arithmetic in double.
#include "tessera/checkpoint/scaled_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

namespace tessera::checkpoint {
namespace {

// The formats in double, from their definitions alone.

double e2m1(int code) {
  constexpr double kValues[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return code & 8 ? -kValues[code & 7] : kValues[code];
}

/// NaN for 0x7f and 0xff.
double e4m3(int code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::nan("");
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

double e8m0(int code) { return code == 255 ? std::nan("") : std::ldexp(1.0, code - 127); }

/// Whether a value has at most `digits` binary ones in a row, none below 2^lowest, and is at most
/// `most`.
bool fits(double value, int digits, int lowest, double most) {
  if (std::isnan(value) || std::abs(value) > most) return false;
  if (value == 0) return true;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int last = std::max(exponent - digits, lowest);
  const double scaled = std::ldexp(value, -last);
  return scaled == std::nearbyint(scaled);
}
bool fits_bf16(double value) { return fits(value, 8, -133, 0x1.fep127); }
bool fits_e4m3(double value) { return fits(value, 4, -9, 448); }

double bf16(uint16_t code) {
  const uint32_t bits = static_cast<uint32_t>(code) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

bool same(double a, double b) { return a == b && std::signbit(a) == std::signbit(b); }

std::vector<std::byte> bytes_of(std::initializer_list<int> values) {
  std::vector<std::byte> bytes;
  for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST(ScaledBlocks, WidensEveryFp4CodeUnderEveryScale) {
  int refused = 0;
  for (int scale = 0; scale < 256; ++scale)
    for (int code = 0; code < 16; ++code) {
      // Both halves of a byte, and a row that a tail cuts short.
      const auto codes = bytes_of({code, code << 4, code | code << 4});
      const auto scales = bytes_of({scale});
      std::vector<uint16_t> wide(6);
      const auto fault = widen_fp4({codes, scales, 1, 6}, wide);
      const double value = e2m1(code) * e8m0(scale);
      if (!fits_bf16(value)) {
        ++refused;
        ASSERT_TRUE(fault) << "code " << code << ", scale " << scale;
        EXPECT_TRUE(std::ranges::find(fault->codes, code) != fault->codes.end()) << scale;
        continue;
      }
      // Scale 255 spoils the zeros beside the code, too.
      ASSERT_FALSE(fault) << "code " << code << ", scale " << scale;
      for (const int i : {0, 3, 4, 5}) EXPECT_TRUE(same(bf16(wide[i]), value)) << i;
      for (const int i : {1, 2}) EXPECT_TRUE(same(bf16(wide[i]), 0.0)) << i;
    }
  EXPECT_EQ(refused, 16 + 8 + 4);  // no number; 2, 3, 4, 6 times 2^127; 4, 6 times 2^126
}

TEST(ScaledBlocks, WidensEveryFp8CodeUnderEveryScale) {
  int refused = 0;
  for (int scale = 0; scale < 256; ++scale)
    for (int code = 0; code < 256; ++code) {
      const auto codes = bytes_of({code}), scales = bytes_of({scale});
      std::vector<uint16_t> wide(1);
      const auto fault = widen_fp8({codes, scales, 1, 1}, wide);
      const double value = e4m3(code) * e8m0(scale);
      ASSERT_EQ(fault.has_value(), !fits_bf16(value)) << "code " << code << ", scale " << scale;
      if (!fault) {
        EXPECT_TRUE(same(bf16(wide[0]), value)) << "code " << code << ", scale " << scale;
        continue;
      }
      ++refused;
      EXPECT_EQ(fault->codes, std::vector{static_cast<uint8_t>(code)});
      EXPECT_EQ(fault->reason, std::isnan(value)     ? "no number"
                               : std::abs(value) > 1 ? "too large for bf16"
                                                     : "too small for bf16");
    }
  EXPECT_GT(refused, 512);
}

TEST(ScaledBlocks, NamesTheBlockThatCannotBeHeld) {
  // Rows 128 to 129 and columns 128 to 130 of a matrix whose last blocks are cut short.
  std::vector<std::byte> codes(130 * 131, std::byte{0x38});
  codes[129 * 131 + 130] = std::byte{0x7e};
  codes[128 * 131 + 128] = std::byte{0xff};
  auto scales = bytes_of({127, 127, 127, 254});
  std::vector<uint16_t> wide(130 * 131);
  auto fault = widen_fp8({codes, scales, 130, 131}, wide);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->to_string(),
            "rows 128 to 129, columns 128 to 130, scale 254 (2^127), codes 126 255: too large for "
            "bf16");
  const auto fp4 = bytes_of({0x21, 0x43});
  scales = bytes_of({254});
  fault = widen_fp4({fp4, scales, 1, 4}, wide);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->to_string(),
            "row 0, columns 0 to 3, scale 254 (2^127), code 4: too large for bf16");
  scales = bytes_of({255});
  fault = widen_fp4({fp4, scales, 1, 4}, wide);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->to_string(),
            "row 0, columns 0 to 3, scale 255 (no number), codes 1 2 3 4: no number");
}

/// A block of two groups of FP4, each of one code and its scale.
struct TwoGroups {
  int code[2], scale[2];
  double value(int group) const { return e2m1(code[group]) * e8m0(scale[group]); }
};

/// As e4m3 under one scale; nullopt when refused.
std::optional<std::pair<double, double>> rescaled(const TwoGroups& block, Inexact inexact,
                                                  Rounding& rounding) {
  std::vector<std::byte> codes(32);
  for (size_t i = 0; i < codes.size(); ++i)
    codes[i] = static_cast<std::byte>(block.code[i / 16] * 17);
  const auto scales = bytes_of({block.scale[0], block.scale[1]});
  std::vector<uint8_t> out(64), out_scale(1);
  const auto fault = rescale_fp4({codes, scales, 1, 64}, inexact, out, out_scale, rounding);
  if (fault) return std::nullopt;
  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], out[i / 32 * 32]);
  return std::pair(e4m3(out[0]) * e8m0(out_scale[0]), e4m3(out[32]) * e8m0(out_scale[0]));
}

TEST(ScaledBlocks, RescalesEveryPairThatE4m3CanHold) {
  int exact = 0, refused = 0;
  for (const int base : {0, 1, 7, 60, 127, 200, 247, 254})
    for (int apart = -24; apart <= 24; ++apart)
      for (int first = 0; first < 16; ++first)
        for (int second = 0; second < 8; ++second) {
          const TwoGroups block{{first, second}, {base, base + apart}};
          if (block.scale[1] < 0 || block.scale[1] > 254) continue;
          bool possible = false;
          for (int scale = 0; scale < 255 && !possible; ++scale)
            possible = fits_e4m3(std::ldexp(block.value(0), 127 - scale)) &&
                       fits_e4m3(std::ldexp(block.value(1), 127 - scale));
          Rounding rounding;
          const auto made = rescaled(block, Inexact::refuse, rounding);
          ASSERT_EQ(made.has_value(), possible) << first << " x 2^" << base - 127 << ", " << second
                                                << " x 2^" << block.scale[1] - 127;
          EXPECT_EQ(rounding.blocks, 0);
          if (!made) {
            ++refused;
            continue;
          }
          ++exact;
          EXPECT_TRUE(same(made->first, block.value(0)) && same(made->second, block.value(1)))
              << first << " x 2^" << base - 127 << ", " << second << " x 2^"
              << block.scale[1] - 127;
        }
  EXPECT_GT(exact, 10000);
  EXPECT_GT(refused, 1000);
}

TEST(ScaledBlocks, TakesTheOfficialScaleWhereThatIsExact) {
  const auto codes = bytes_of({0x11, 0x72});
  const auto scales = bytes_of({120});
  std::vector<uint8_t> out(4), scale(1);
  Rounding rounding;
  ASSERT_FALSE(rescale_fp4({codes, scales, 1, 4}, Inexact::refuse, out, scale, rounding));
  EXPECT_EQ(scale[0], 120 - 6);
  EXPECT_EQ(e4m3(out[3]), 6 * 64);
}

TEST(ScaledBlocks, ScalesOfZerosDoNotCount) {
  const TwoGroups block{{8, 5}, {1, 127}};  // -0 under 2^-126
  Rounding rounding;
  const auto made = rescaled(block, Inexact::refuse, rounding);
  ASSERT_TRUE(made);
  EXPECT_TRUE(same(made->first, -0.0));
  EXPECT_EQ(made->second, 3);
}

TEST(ScaledBlocks, RefusesOrRoundsWhatE4m3CannotHold) {
  const TwoGroups block{{7, 1}, {130, 110}};  // 6 x 2^3 and 2^-18
  Rounding rounding;
  EXPECT_FALSE(rescaled(block, Inexact::refuse, rounding));
  const auto made = rescaled(block, Inexact::round, rounding);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->first, 48);
  EXPECT_EQ(made->second, 0);
  EXPECT_EQ(rounding.blocks, 1);
  EXPECT_GE(rounding.largest, std::abs(made->second - block.value(1)) / 48);
  EXPECT_LE(rounding.largest, 0x1p-16);

  std::vector<std::byte> codes(32, std::byte{0x77});
  std::fill(codes.begin() + 16, codes.end(), std::byte{0x19});
  const auto scales = bytes_of({130, 110});
  std::vector<uint8_t> out(64), scale(1);
  const auto fault = rescale_fp4({codes, scales, 1, 64}, Inexact::refuse, out, scale, rounding);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->to_string(),
            "row 0, columns 0 to 63, scales 110 (2^-17) to 130 (2^3), codes 1 7 9: too far apart "
            "for e4m3 with one scale");
}

TEST(ScaledBlocks, QuantisesRowsToInt8WithinHalfAStep) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<uint16_t> row(4096);
  for (uint16_t& code : row) {
    const float value = normal(random);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    code = static_cast<uint16_t>(bits >> 16);
  }
  std::vector<int8_t> codes(row.size());
  QuantisationError error;
  const float scale = quantise_int8(row, codes, error);
  double squares = 0, of_values = 0, largest = 0, top = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const double value = bf16(row[i]), difference = value - static_cast<double>(codes[i]) * scale;
    EXPECT_LE(std::abs(difference), 0.5001 * scale);
    squares += difference * difference;
    of_values += value * value;
    largest = std::max(largest, std::abs(difference));
    top = std::max(top, std::abs(value));
  }
  EXPECT_NEAR(scale, top / 127, 1e-7 * top);
  EXPECT_EQ(std::max<int>(*std::ranges::max_element(codes), -*std::ranges::min_element(codes)),
            127);
  EXPECT_NEAR(error.relative(), std::sqrt(squares / of_values), 1e-6);
  EXPECT_NEAR(error.largest, largest / top, 1e-6);

  std::vector<uint16_t> zeros(5);
  EXPECT_EQ(quantise_int8(zeros, codes, error), 1);
  EXPECT_EQ(codes[0], 0);
}

}  // namespace
}  // namespace tessera::checkpoint
