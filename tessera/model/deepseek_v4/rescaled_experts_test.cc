// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/rescaled_experts.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/base/float_formats.h"

namespace tessera::model::deepseek_v4 {
namespace {

/// Every FP4 code under every scale of a block, at odd sizes.
struct Sample {
  int64_t rows, columns;
  std::vector<uint8_t> codes, scales;

  Sample(int64_t r, int64_t c, int low, int high) : rows(r), columns(c) {
    for (int64_t i = 0; i < rows * columns / 2; ++i) codes.push_back(static_cast<uint8_t>(i * 37));
    for (int64_t i = 0; i < rows * columns / 32; ++i)
      scales.push_back(static_cast<uint8_t>(low + i % (high - low + 1)));
  }
  double value(int64_t row, int64_t column) const {
    const uint8_t pair = codes[static_cast<size_t>((row * columns + column) / 2)];
    const uint8_t code = column % 2 == 0 ? pair & 0xf : pair >> 4;
    return decode_e2m1(code) *
           std::ldexp(1.0, scales[static_cast<size_t>(row * columns / 32 + column / 32)] - 127);
  }
  Result<Rescaled> rescaled() const {
    return rescale_fp4(std::as_bytes(std::span(codes)), std::as_bytes(std::span(scales)), rows,
                       columns);
  }
};

TEST(RescaledExperts, EveryValueStays) {
  for (const auto& [low, high] : {std::pair{110, 124}, {127, 127}, {0, 6}, {0, 0}, {240, 254}}) {
    const Sample sample(130, 192, low, high);
    const auto made = sample.rescaled();
    ASSERT_TRUE(made.ok()) << made.error().to_string();
    ASSERT_EQ(made->scales.size(), 4u);
    for (int64_t r = 0; r < sample.rows; ++r)
      for (int64_t c = 0; c < sample.columns; ++c) {
        const double scale =
            std::ldexp(1.0, made->scales[static_cast<size_t>(r / 128 * 2 + c / 128)] - 127);
        const double value =
            decode_e4m3(made->codes[static_cast<size_t>(r * sample.columns + c)]) * scale;
        ASSERT_EQ(value, sample.value(r, c)) << r << ", " << c << " scales from " << low;
      }
  }
}

TEST(RescaledExperts, ScalesTooFarApartAreNamed) {
  Sample sample(128, 256, 127, 127);
  sample.scales[5] = 127 - 15;  // row 0, columns 160 to 191
  const auto made = sample.rescaled();
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().message,
            "the block of rows 0 to 127 and columns 128 to 255 has scales 2^-15 to 2^0: e4m3 with "
            "one scale spans a factor of 2^14");
}

TEST(RescaledExperts, ScalesOfZerosDoNotCount) {
  Sample sample(1, 32, 127, 127);
  std::fill(sample.codes.begin(), sample.codes.end(), uint8_t{0x80});  // 0 and -0
  sample.scales[0] = 1;
  const auto made = sample.rescaled();
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(decode_e4m3(made->codes[0]), 0);
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
