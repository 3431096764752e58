// SPDX-License-Identifier: Apache-2.0
// Weights whose elements share scales in blocks, in another format. Every result is exact: a block
// that the other format cannot hold is named instead. INT8 is the exception, and says its error.
//
// The functions take whole rows of a matrix from a row that begins a block, so that a large one can
// be converted in pieces. Scales are e8m0; a row or block that a tail cuts off has one of its own.
//   FP4: e2m1, two a byte, the low nibble first; one scale for a row's 32 columns
//   FP8: e4m3; one scale for 128 x 128
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tessera::checkpoint {

inline constexpr int64_t kFp4Group = 32, kFp8Block = 128;

/// Elements of a matrix [rows, columns] with their scales; for FP4 `columns` is a multiple of 2.
struct ScaledMatrix {
  std::span<const std::byte> codes, scales;
  int64_t rows = 0, columns = 0;
};

/// A block that the wanted format cannot hold.
struct BlockFault {
  int64_t row = 0, column = 0;    // of its first element
  int64_t rows = 0, columns = 0;  // that share a scale, inside the matrix
  int scale = 0, high_scale = 0;  // e8m0 codes; they differ where several small blocks become one
  std::vector<uint8_t> codes;     // that are the reason, ascending
  std::string_view reason;        // "too large for bf16"

  /// "rows 0 to 127, columns 128 to 255, scale 254 (2^127), codes 4 5 7: too large for bf16"
  std::string to_string() const;
};

/// bf16 codes [rows, columns].
std::optional<BlockFault> widen_fp4(const ScaledMatrix& fp4, std::span<uint16_t> bf16);
std::optional<BlockFault> widen_fp8(const ScaledMatrix& fp8, std::span<uint16_t> bf16);

enum class Inexact : uint8_t { refuse, round };

/// What was rounded.
struct Rounding {
  int64_t blocks = 0;
  double largest = 0;  // error relative to the largest value of its block
};

/// e4m3 codes [rows, columns] and their scales [ceil(rows / 128), ceil(columns / 128)]. Exact where
/// the values of a block span at most what e4m3 does, 2^-9 to 1.75 x 2^8, after its scale is taken
/// out; the scale is the official conversion's (the largest of the block over 2^6) where that is
/// exact. Other blocks are refused, or rounded to nearest even under the largest scale needed.
std::optional<BlockFault> rescale_fp4(const ScaledMatrix& fp4, Inexact inexact,
                                      std::span<uint8_t> e4m3, std::span<uint8_t> scales,
                                      Rounding& rounding);

/// Sums over elements, to say how far quantised values are from the given ones.
struct QuantisationError {
  double squares = 0, of_values = 0;  // of differences, of values
  double largest = 0;                 // difference relative to the largest value of its row

  void add(const QuantisationError& other);
  /// Root of the mean square, relative to that of the values.
  double relative() const;
};

/// One row of finite bf16 codes at a time: codes in [-127, 127] and the scale that multiplies them,
/// largest / 127 (1 for zeros).
float quantise_int8(std::span<const uint16_t> bf16, std::span<int8_t> codes,
                    QuantisationError& error);

}  // namespace tessera::checkpoint
