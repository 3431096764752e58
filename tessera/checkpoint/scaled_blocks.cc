// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/scaled_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <string_view>

#include "tessera/base/float_formats.h"

namespace tessera::checkpoint {
namespace {

constexpr int kNanScale = 255, kScaleBias = 127;
constexpr std::string_view kTooLarge = "too large for bf16", kTooSmall = "too small for bf16",
                           kNan = "no number", kTooWide = "too far apart for e4m3 with one scale";

int64_t blocks_of(int64_t extent, int64_t block) { return (extent + block - 1) / block; }
uint8_t byte_at(std::span<const std::byte> bytes, int64_t i) {
  return std::to_integer<uint8_t>(bytes[static_cast<size_t>(i)]);
}

/// Why bf16 cannot hold a value that f32 holds exactly; empty when it can.
std::string_view bf16_fault(float value) {
  if (std::isnan(value)) return kNan;
  if (std::isinf(value)) return kTooLarge;
  return (std::bit_cast<uint32_t>(value) & 0xffff) != 0 ? kTooSmall : std::string_view();
}

uint16_t bf16_code(float exact) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(exact) >> 16);
}

/// Two elements of FP4 as bf16, for every byte and scale; with the scales under which each code is
/// held.
struct WidenedFp4 {
  std::array<std::array<uint32_t, 256>, 256> pairs;  // by scale, byte
  std::array<bool, 256> all_held;

  WidenedFp4() {
    for (int scale = 0; scale < 256; ++scale) {
      all_held[scale] = true;
      std::array<uint16_t, 16> codes;
      for (int code = 0; code < 16; ++code) {
        const float value =
            decode_e2m1_scaled(static_cast<uint8_t>(code), static_cast<uint8_t>(scale));
        codes[code] = bf16_code(value);
        all_held[scale] &= bf16_fault(value).empty();
      }
      for (int byte = 0; byte < 256; ++byte)
        pairs[scale][byte] = codes[byte & 15] | static_cast<uint32_t>(codes[byte >> 4]) << 16;
    }
  }
  static const WidenedFp4& table() {
    static const WidenedFp4 made;
    return made;
  }
};

/// e4m3 as bf16 for every code and scale.
struct WidenedFp8 {
  std::array<std::array<uint16_t, 256>, 256> codes;  // by scale, code
  std::array<bool, 256> numbers_held;                // every code but the two that are no number

  WidenedFp8() {
    for (int scale = 0; scale < 256; ++scale) {
      numbers_held[scale] = true;
      for (int code = 0; code < 256; ++code) {
        const float value =
            decode_e4m3_scaled(static_cast<uint8_t>(code), static_cast<uint8_t>(scale));
        codes[scale][code] = bf16_code(value);
        if ((code & 0x7f) != 0x7f) numbers_held[scale] &= bf16_fault(value).empty();
      }
    }
  }
  static const WidenedFp8& table() {
    static const WidenedFp8 made;
    return made;
  }
};

/// Collects the codes of a block for which fault(code) is not empty.
template <class Codes, class Fault>
std::optional<BlockFault> faults(BlockFault block, Codes&& codes, Fault&& fault) {
  std::array<bool, 256> seen{};
  codes([&](uint8_t code) { seen[code] = true; });
  for (int code = 0; code < 256; ++code) {
    if (!seen[code]) continue;
    const std::string_view reason = fault(static_cast<uint8_t>(code));
    if (reason.empty()) continue;
    if (block.codes.empty()) block.reason = reason;
    block.codes.push_back(static_cast<uint8_t>(code));
  }
  if (block.codes.empty()) return std::nullopt;
  return block;
}

/// The magnitudes that occur in `bytes` of FP4 pairs: bit m is code m or m + 8.
uint32_t magnitudes_of(std::span<const std::byte> bytes) {
  static const auto masks = [] {
    std::array<uint8_t, 256> made{};
    for (int byte = 0; byte < 256; ++byte)
      made[byte] = static_cast<uint8_t>(1 << (byte & 7) | 1 << (byte >> 4 & 7));
    return made;
  }();
  uint32_t all = 0;
  for (const std::byte byte : bytes) all |= masks[std::to_integer<uint8_t>(byte)];
  return all;
}

// By the magnitude of an FP4 code: floor(log2), and the place of the lowest bit that is set.
constexpr std::array<int, 8> kTop = {0, -1, 0, 0, 1, 1, 2, 2}, kLow = {0, -1, 0, -1, 1, 0, 2, 1};

/// Two elements of FP4 times 2^shift as e4m3, rounded to nearest even, for every byte and shift.
class ShiftedFp4 {
 public:
  static constexpr int kLeast = -24, kMost = 12;  // beyond: zero, and the largest

  ShiftedFp4() {
    for (int shift = kLeast; shift <= kMost; ++shift)
      for (int byte = 0; byte < 256; ++byte) {
        const auto code = [&](int nibble) {
          return encode_e4m3(std::ldexp(decode_e2m1(static_cast<uint8_t>(nibble)), shift));
        };
        pairs_[shift - kLeast][byte] =
            static_cast<uint16_t>(code(byte & 15) | code(byte >> 4) << 8);
      }
  }
  const std::array<uint16_t, 256>& at(int shift) const {
    return pairs_[std::clamp(shift, kLeast, kMost) - kLeast];
  }
  static const ShiftedFp4& table() {
    static const ShiftedFp4 made;
    return made;
  }

 private:
  std::array<std::array<uint16_t, 256>, kMost - kLeast + 1> pairs_;
};

/// One 128 x 128 block of a matrix in FP4.
class Fp4Block {
 public:
  Fp4Block(const ScaledMatrix& all, int64_t row, int64_t column)
      : all_(all),
        row_(row),
        column_(column),
        rows_(std::min(kFp8Block, all.rows - row)),
        columns_(std::min(kFp8Block, all.columns - column)),
        groups_(blocks_of(all.columns, kFp4Group)) {}

  /// f(first byte, bytes, scale) for each group of elements with one scale.
  template <class F>
  void for_each_group(F&& f) const {
    for (int64_t r = row_; r < row_ + rows_; ++r)
      for (int64_t c = column_; c < column_ + columns_; c += kFp4Group) {
        const int64_t count = std::min(kFp4Group, column_ + columns_ - c);
        f((r * all_.columns + c) / 2, count / 2, byte_at(all_.scales, r * groups_ + c / kFp4Group));
      }
  }
  std::span<const std::byte> bytes(int64_t first, int64_t count) const {
    return all_.codes.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  }
  BlockFault fault(std::string_view reason) const {
    BlockFault block{row_, column_, rows_, columns_, 255, 0, {}, reason};
    std::array<bool, 256> seen{};
    for_each_group([&](int64_t first, int64_t count, int scale) {
      const uint32_t occur = magnitudes_of(bytes(first, count)) & ~1u;
      if (occur == 0 && scale != kNanScale) return;
      block.scale = std::min(block.scale, scale);
      block.high_scale = std::max(block.high_scale, scale);
      for (const std::byte pair : bytes(first, count)) {
        seen[std::to_integer<uint8_t>(pair) & 15] = true;
        seen[std::to_integer<uint8_t>(pair) >> 4] = true;
      }
    });
    for (int code = 0; code < 16; ++code)
      if (seen[code] && (code & 7) != 0) block.codes.push_back(static_cast<uint8_t>(code));
    return block;
  }

 private:
  const ScaledMatrix& all_;
  int64_t row_, column_, rows_, columns_, groups_;
};

bool all_zero(std::span<const std::byte> pairs) {
  uint64_t any = 0, word = 0;
  size_t i = 0;
  for (; i + sizeof(word) <= pairs.size(); i += sizeof(word)) {
    std::memcpy(&word, &pairs[i], sizeof(word));
    any |= word;
  }
  for (; i < pairs.size(); ++i) any |= std::to_integer<uint64_t>(pairs[i]);
  return (any & 0x7777777777777777u) == 0;
}

/// The scales of a block's groups that are not all zero.
struct BlockScales {
  bool empty = true, has_nan = false;
  int low = 255, high = 0;

  explicit BlockScales(const Fp4Block& block) {
    block.for_each_group([&](int64_t first, int64_t count, int scale) {
      has_nan |= scale == kNanScale;
      if (all_zero(block.bytes(first, count))) return;
      empty = false;
      low = std::min(low, scale);
      high = std::max(high, scale);
    });
  }
};

/// Exponents, with e8m0's bias, of the largest element of a block and of the lowest bit of any.
struct BlockRange {
  int top = -1000, low = 1000;

  explicit BlockRange(const Fp4Block& block) {
    block.for_each_group([&](int64_t first, int64_t count, int scale) {
      const uint32_t occur = magnitudes_of(block.bytes(first, count)) & ~1u;
      if (occur == 0) return;
      top = std::max(top, scale + kTop[std::bit_width(occur) - 1]);
      for (int m = 1; m < 8; ++m)
        if (occur >> m & 1) low = std::min(low, scale + kLow[m]);
    });
  }
};

/// table[byte] for each of `bytes`, one after the other. Unit: a byte's two elements.
template <class Unit>
void look_up(std::span<const std::byte> bytes, const std::array<Unit, 256>& table, void* out) {
  constexpr size_t kAtOnce = sizeof(uint64_t) / sizeof(Unit);
  auto* to = static_cast<std::byte*>(out);
  size_t i = 0;
  for (; i + kAtOnce <= bytes.size(); i += kAtOnce) {
    uint64_t word = 0;
    for (size_t j = 0; j < kAtOnce; ++j)
      word |= uint64_t{table[std::to_integer<uint8_t>(bytes[i + j])]} << (8 * sizeof(Unit) * j);
    std::memcpy(to + i * sizeof(Unit), &word, sizeof(word));
  }
  for (; i < bytes.size(); ++i)
    std::memcpy(to + i * sizeof(Unit), &table[std::to_integer<uint8_t>(bytes[i])], sizeof(Unit));
}

}  // namespace

std::string BlockFault::to_string() const {
  const auto scale_text = [](int code) {
    return code == kNanScale ? fmt::format("{} (no number)", code)
                             : fmt::format("{} (2^{})", code, code - kScaleBias);
  };
  std::string text =
      rows == 1 ? fmt::format("row {}", row) : fmt::format("rows {} to {}", row, row + rows - 1);
  text += fmt::format(", columns {} to {}, ", column, column + columns - 1);
  text += high_scale == scale
              ? fmt::format("scale {}", scale_text(scale))
              : fmt::format("scales {} to {}", scale_text(scale), scale_text(high_scale));
  text += codes.size() == 1 ? ", code" : ", codes";
  constexpr size_t kShown = 16;
  for (size_t i = 0; i < std::min(kShown, codes.size()); ++i) text += fmt::format(" {}", codes[i]);
  if (codes.size() > kShown) text += fmt::format(" and {} more", codes.size() - kShown);
  return text + ": " + std::string(reason);
}

std::optional<BlockFault> widen_fp4(const ScaledMatrix& fp4, std::span<uint16_t> bf16) {
  const WidenedFp4& table = WidenedFp4::table();
  const int64_t groups = blocks_of(fp4.columns, kFp4Group);
  for (int64_t r = 0; r < fp4.rows; ++r)
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t column = g * kFp4Group, count = std::min(kFp4Group, fp4.columns - column);
      const uint8_t scale = byte_at(fp4.scales, r * groups + g);
      const auto bytes = fp4.codes.subspan(static_cast<size_t>((r * fp4.columns + column) / 2),
                                           static_cast<size_t>(count / 2));
      if (!table.all_held[scale]) {
        auto found = faults(
            {r, column, 1, count, scale, scale, {}, {}},
            [&](auto&& take) {
              for (const std::byte pair : bytes) {
                take(std::to_integer<uint8_t>(pair) & 15);
                take(std::to_integer<uint8_t>(pair) >> 4);
              }
            },
            [&](uint8_t code) { return bf16_fault(decode_e2m1_scaled(code, scale)); });
        if (found) return found;
      }
      look_up(bytes, table.pairs[scale], &bf16[static_cast<size_t>(r * fp4.columns + column)]);
    }
  return std::nullopt;
}

std::optional<BlockFault> widen_fp8(const ScaledMatrix& fp8, std::span<uint16_t> bf16) {
  const WidenedFp8& table = WidenedFp8::table();
  const int64_t across = blocks_of(fp8.columns, kFp8Block);
  for (int64_t r = 0; r < fp8.rows; ++r)
    for (int64_t b = 0; b < across; ++b) {
      const int64_t column = b * kFp8Block, count = std::min(kFp8Block, fp8.columns - column);
      const uint8_t scale = byte_at(fp8.scales, r / kFp8Block * across + b);
      const auto first = static_cast<size_t>(r * fp8.columns + column);
      const auto& codes = table.codes[scale];
      uint32_t beyond = 0;  // an exponent of ones: infinity or no number
      for (size_t i = first; i < first + static_cast<size_t>(count); ++i) {
        bf16[i] = codes[std::to_integer<uint8_t>(fp8.codes[i])];
        beyond |= ((bf16[i] & 0x7f80u) + 0x80u) & 0x8000u;
      }
      if (beyond == 0 && table.numbers_held[scale]) continue;
      const int64_t row0 = r / kFp8Block * kFp8Block, row1 = std::min(row0 + kFp8Block, fp8.rows);
      auto found = faults(
          {row0, column, row1 - row0, count, scale, scale, {}, {}},
          [&](auto&& take) {
            for (int64_t i = row0; i < row1; ++i)
              for (int64_t c = column; c < column + count; ++c)
                take(byte_at(fp8.codes, i * fp8.columns + c));
          },
          [&](uint8_t code) { return bf16_fault(decode_e4m3_scaled(code, scale)); });
      if (found) return found;
    }
  return std::nullopt;
}

std::optional<BlockFault> rescale_fp4(const ScaledMatrix& fp4, Inexact inexact,
                                      std::span<uint8_t> e4m3, std::span<uint8_t> scales,
                                      Rounding& rounding) {
  // e4m3 holds 1.75 x 2^8 and multiples of 2^-9; the official conversion puts 6 at 1.5 x 2^8.
  constexpr int kTopBit = 8, kLowBit = -9, kOfficial = 6;
  const ShiftedFp4& table = ShiftedFp4::table();
  const int64_t across = blocks_of(fp4.columns, kFp8Block);
  for (size_t b = 0; b < scales.size(); ++b) {
    const auto at = static_cast<int64_t>(b);
    const Fp4Block block(fp4, at / across * kFp8Block, at % across * kFp8Block);
    const BlockScales found(block);
    if (found.has_nan) return block.fault(kNan);
    int scale = std::max(0, found.high - kOfficial);
    // All codes fit under this scale while the lowest, 2^-1, is above the lowest bit.
    if (!found.empty && found.low - 1 - scale < kLowBit) {
      const BlockRange range(block);
      const int least = std::max(0, range.top - kTopBit), most = range.low - kLowBit;
      if (least <= most) {
        scale = std::clamp(scale, least, most);
      } else if (inexact == Inexact::refuse) {
        return block.fault(kTooWide);
      } else {
        scale = least;
        ++rounding.blocks;
        // Half of the last place that is kept, beside the largest value.
        rounding.largest =
            std::max(rounding.largest, std::ldexp(1.0, kLowBit - 1 + scale - range.top));
      }
    }
    scales[b] = static_cast<uint8_t>(scale);
    block.for_each_group([&](int64_t first, int64_t count, int group_scale) {
      look_up(block.bytes(first, count), table.at(group_scale - scale),
              &e4m3[static_cast<size_t>(2 * first)]);
    });
  }
  return std::nullopt;
}

void QuantisationError::add(const QuantisationError& other) {
  squares += other.squares;
  of_values += other.of_values;
  largest = std::max(largest, other.largest);
}

double QuantisationError::relative() const {
  return of_values == 0 ? 0 : std::sqrt(squares / of_values);
}

float quantise_int8(std::span<const uint16_t> bf16, std::span<int8_t> codes,
                    QuantisationError& error) {
  constexpr float kMost = 127;
  // Adding and taking away 1.5 x 2^23 leaves the nearest whole number, halves to even.
  constexpr float kRound = 0x1.8p23f;
  float largest = 0;
  for (const uint16_t code : bf16) largest = std::max(largest, std::abs(decode_bf16(code)));
  const float scale = largest > 0 ? largest / kMost : 1;
  double squares = 0, of_values = 0;
  float worst = 0;
  for (size_t i = 0; i < bf16.size(); ++i) {
    const float value = decode_bf16(bf16[i]);
    const float whole = (std::clamp(value / scale, -kMost, kMost) + kRound) - kRound;
    codes[i] = static_cast<int8_t>(whole);
    const float difference = value - whole * scale;
    squares += static_cast<double>(difference) * static_cast<double>(difference);
    of_values += static_cast<double>(value) * static_cast<double>(value);
    worst = std::max(worst, std::abs(difference));
  }
  error.add({squares, of_values, largest > 0 ? static_cast<double>(worst / largest) : 0});
  return scale;
}

}  // namespace tessera::checkpoint
