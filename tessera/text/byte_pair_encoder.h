// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding: starting from single bytes, the adjacent pair whose merge ranks lowest is
// joined (the leftmost of equals), again and again, until no pair has a merge.
//
// encode() finds the same result from left to right in linear time and without a cache of words. It
// rests on a property of the procedure: a sequence of symbols is the result for its bytes if and
// only if every two neighbours are the result for theirs. So the longest symbol that fits its left
// neighbour is taken, and shorter ones are tried, and the neighbour taken back, when nothing
// follows. (The observation is from GitHub's article "So many tokens, so little time", 2024.) It
// needs one merge for each symbol and parts that rank below the whole, which create() checks.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/text/byte_trie.h"

namespace tessera::text {

class BytePairEncoder {
 public:
  /// A byte, or 256 + rank for what the merge of that rank makes.
  using Symbol = uint32_t;

  /// Working memory of encode(), to be reused between calls; not shared between threads.
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<size_t> starts;  // of the symbols
    std::vector<uint8_t> dead;   // by position: nothing that ends here can be continued
  };

  /// merges[rank] = two symbols that exist before it. Errors: a part that comes later, a pair or a
  /// symbol that comes twice, 2^21 - 256 merges or more, a symbol longer than 64 KiB.
  static Result<BytePairEncoder> create(const std::vector<std::pair<Symbol, Symbol>>& merges);

  /// Sets scratch.symbols to the encoding of `bytes`.
  void encode(std::string_view bytes, Scratch& scratch) const;

  /// The procedure as defined, O(n log n): what encode() must agree with.
  std::vector<Symbol> encode_by_merges(std::string_view bytes) const;

  size_t symbol_count() const { return bytes_.size(); }
  std::string_view bytes(Symbol symbol) const { return bytes_[symbol]; }

 private:
  static constexpr Symbol kNone = ByteTrie::kNone;
  static constexpr int kSymbolBits = 21;

  /// What (left, right) merges to, or kNone.
  Symbol merge_of(Symbol left, Symbol right) const;
  Result<> add_pair(Symbol left, Symbol right, Symbol merged);
  /// Whether no merge below `limit` joins the end of `left` to the start of `right`, each being the
  /// encoding of its own bytes.
  bool stay_apart(Symbol left, Symbol right, Symbol limit) const;
  Result<> index_symbols();

  struct Parts {
    Symbol left, right;  // of a byte: itself twice
  };
  std::vector<std::string> bytes_;
  std::vector<Parts> parts_;
  std::vector<Symbol> shorter_;   // the longest other symbol that is a prefix
  std::vector<uint64_t> pairs_;   // open addressing: left, right, merged
  std::vector<uint64_t> filter_;  // a bit for each pair, by hash: most pairs have no merge
  int pair_shift_ = 0;
  ByteTrie trie_;
};

}  // namespace tessera::text
