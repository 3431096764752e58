// SPDX-License-Identifier: Apache-2.0
// The tokens of short pieces met lately within one text. Text repeats its words, and the big tables
// of the encoder do not fit a core's cache: a hit costs one line of a small table instead of
// several far lines. Empty at the start of every text and as large as the text deserves.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::text {

class PieceCache {
 public:
  static constexpr size_t kLongestPiece = 15;
  static constexpr size_t kMostTokens = 3;

  struct Entry {
    uint64_t first = 0, last = 0;  // eight bytes from the start and up to the end; they overlap
    std::array<int32_t, kMostTokens> tokens{};
    uint16_t length = 0;  // of the piece; 0: empty
    uint16_t count = 0;   // of tokens
  };
  static_assert(sizeof(Entry) == 32);

  explicit PieceCache(size_t text_size)
      : bits_(static_cast<int>(std::bit_width(std::clamp<size_t>(text_size / 16, 1, 4096)))),
        entries_(size_t{1} << bits_) {}

  /// The place of `piece` (1 to kLongestPiece bytes). It holds the tokens when `hit`; otherwise the
  /// caller fills in tokens and count, or sets length to 0.
  Entry& find(std::string_view piece, bool& hit) {
    const auto [first, last] = ends_of(piece);
    const uint64_t mixed = (first * 0x9E3779B97F4A7C15u) ^ (last + piece.size());
    Entry& entry = entries_[(mixed * 0xD6E8FEB86659FD93u) >> (64 - bits_)];
    hit = entry.length == piece.size() && entry.first == first && entry.last == last;
    entry.first = first;
    entry.last = last;
    entry.length = static_cast<uint16_t>(piece.size());
    return entry;
  }

 private:
  template <class Word>
  static std::pair<uint64_t, uint64_t> load_ends(std::string_view piece) {
    Word first, last;
    std::memcpy(&first, piece.data(), sizeof first);
    std::memcpy(&last, piece.data() + piece.size() - sizeof last, sizeof last);
    return {first, last};
  }

  /// Tell all pieces of one length apart.
  static std::pair<uint64_t, uint64_t> ends_of(std::string_view piece) {
    if (piece.size() >= 8) return load_ends<uint64_t>(piece);
    if (piece.size() >= 4) return load_ends<uint32_t>(piece);
    if (piece.size() >= 2) return load_ends<uint16_t>(piece);
    return {static_cast<uint8_t>(piece[0]), 0};
  }

  int bits_;
  std::vector<Entry> entries_;
};

}  // namespace tessera::text
