// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/byte_pair_encoder.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <queue>

#include "tessera/base/check.h"

namespace tessera::text {
namespace {

constexpr size_t kLongestSymbol = 64 * 1024;
constexpr uint64_t kEmpty = ~0ull;

uint64_t slot_hash(uint64_t key) { return key * 0x9E3779B97F4A7C15ull; }

}  // namespace

Result<BytePairEncoder> BytePairEncoder::create(
    const std::vector<std::pair<Symbol, Symbol>>& merges) {
  constexpr size_t kMost = (size_t{1} << kSymbolBits) - 256;
  if (merges.size() >= kMost)
    return unsupported(fmt::format("{} merges, at most {}", merges.size(), kMost - 1));
  BytePairEncoder encoder;
  const int slot_bits = std::bit_width(2 * merges.size() + 1);
  encoder.pairs_.assign(size_t{1} << slot_bits, kEmpty);
  encoder.pair_shift_ = 64 - slot_bits;
  encoder.bytes_.reserve(256 + merges.size());
  encoder.origins_.reserve(256 + merges.size());
  for (Symbol byte = 0; byte < 256; ++byte) {
    encoder.bytes_.emplace_back(1, static_cast<char>(byte));
    encoder.origins_.push_back({byte, byte, kNone, 1});
  }
  for (const auto& [left, right] : merges) {
    const auto merged = static_cast<Symbol>(encoder.bytes_.size());
    if (left >= merged || right >= merged)
      return unsupported(fmt::format("merge {} joins what a later merge makes", merged - 256));
    std::string bytes = encoder.bytes_[left] + encoder.bytes_[right];
    if (bytes.size() > kLongestSymbol)
      return unsupported(
          fmt::format("merge {} makes a token above {} bytes", merged - 256, kLongestSymbol));
    TESSERA_TRY(encoder.add_pair(left, right, merged));
    encoder.origins_.push_back({left, right, kNone, static_cast<uint32_t>(bytes.size())});
    encoder.bytes_.push_back(std::move(bytes));
  }
  TESSERA_TRY(encoder.index_symbols());
  return encoder;
}

Result<> BytePairEncoder::add_pair(Symbol left, Symbol right, Symbol merged) {
  const uint64_t key = uint64_t{left} << kSymbolBits | right;
  size_t slot = slot_hash(key) >> pair_shift_;
  while (pairs_[slot] != kEmpty) {
    if (pairs_[slot] >> kSymbolBits == key) {
      const uint64_t first = (pairs_[slot] & ((1u << kSymbolBits) - 1)) - 256;
      return corrupt(fmt::format("merge {} repeats merge {}", merged - 256, first));
    }
    slot = (slot + 1) & (pairs_.size() - 1);
  }
  pairs_[slot] = key << kSymbolBits | merged;
  return {};
}

BytePairEncoder::Symbol BytePairEncoder::merge_of(Symbol left, Symbol right) const {
  const uint64_t key = uint64_t{left} << kSymbolBits | right;
  size_t slot = slot_hash(key) >> pair_shift_;
  while (pairs_[slot] != kEmpty) {
    if (pairs_[slot] >> kSymbolBits == key)
      return static_cast<Symbol>(pairs_[slot] & ((1u << kSymbolBits) - 1));
    slot = (slot + 1) & (pairs_.size() - 1);
  }
  return kNone;
}

bool BytePairEncoder::stay_apart(Symbol left, Symbol right, Symbol limit) const {
  // Time runs backwards: the side that was merged last is taken apart first. At each moment the two
  // symbols that touch the border existed together, and a merge of them would have won if it ranks
  // below the merge that the border saw next. Of equals the left one wins, hence the + 1 at the right.
  while (true) {
    const Symbol merged = merge_of(left, right);
    if (merged != kNone && merged < limit) return false;
    if (left < 256 && right < 256) return true;
    if (left > right) {
      limit = left;
      left = origins_[left].right;
    } else {
      limit = right + 1;
      right = origins_[right].left;
    }
  }
}

Result<> BytePairEncoder::index_symbols() {
  std::vector<std::pair<std::string_view, uint32_t>> entries;
  entries.reserve(bytes_.size());
  for (Symbol symbol = 0; symbol < bytes_.size(); ++symbol)
    entries.emplace_back(bytes_[symbol], symbol);
  std::ranges::sort(entries);
  const auto twice = std::ranges::adjacent_find(
      entries, [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != entries.end())
    return unsupported(fmt::format("merges {} and {} make the same token", twice->second - 256,
                                   (twice + 1)->second - 256));
  // A symbol that its own bytes do not give appears nowhere.
  std::erase_if(entries, [this](const auto& entry) {
    const auto [bytes, symbol] = entry;
    return symbol >= 256 && !stay_apart(origins_[symbol].left, origins_[symbol].right, symbol);
  });
  trie_ = ByteTrie(entries);
  for (const auto& [bytes, symbol] : entries)
    origins_[symbol].shorter = trie_.longest_match(bytes.substr(0, bytes.size() - 1)).value;
  return {};
}

void BytePairEncoder::encode(std::string_view bytes, Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  const ByteTrie::Match first = trie_.longest_match(bytes);
  if (first.length == bytes.size()) {
    if (!bytes.empty()) symbols.push_back(first.value);
    return;
  }
  scratch.dead.assign(bytes.size() + 1, 0);
  size_t position = 0;
  Symbol candidate = first.value;
  while (true) {
    const size_t end = position + origins_[candidate].length;
    const bool fits = !scratch.dead[end] &&
                      (symbols.empty() || stay_apart(symbols.back(), candidate, kNone));
    if (fits) {
      symbols.push_back(candidate);
      position = end;
      if (position == bytes.size()) return;
      candidate = trie_.longest_match(bytes.substr(position)).value;
      continue;
    }
    candidate = origins_[candidate].shorter;
    while (candidate == kNone) {  // nothing fits here: take the last symbol back, try shorter ones
      TESSERA_CHECK(!symbols.empty());  // single bytes always fit at the start
      scratch.dead[position] = 1;
      const Symbol last = symbols.back();
      symbols.pop_back();
      position -= origins_[last].length;
      candidate = origins_[last].shorter;
    }
  }
}

std::vector<BytePairEncoder::Symbol> BytePairEncoder::encode_by_merges(std::string_view bytes) const {
  struct Part {
    Symbol symbol;
    size_t previous, next;  // neighbours; size() at the ends
  };
  struct Candidate {
    Symbol merged;
    size_t position;
    bool operator>(const Candidate& other) const {
      return std::pair(merged, position) > std::pair(other.merged, other.position);
    }
  };
  const size_t size = bytes.size();
  std::vector<Part> parts(size);
  for (size_t i = 0; i < size; ++i)
    parts[i] = {static_cast<uint8_t>(bytes[i]), i == 0 ? size : i - 1, i + 1};
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto propose = [&](size_t i) {
    if (i >= size || parts[i].next >= size) return;
    const Symbol merged = merge_of(parts[i].symbol, parts[parts[i].next].symbol);
    if (merged != kNone) queue.push({merged, i});
  };
  for (size_t i = 0; i < size; ++i) propose(i);
  while (!queue.empty()) {
    const auto [merged, i] = queue.top();
    queue.pop();
    const size_t j = parts[i].symbol == kNone ? size : parts[i].next;
    if (j >= size || merge_of(parts[i].symbol, parts[j].symbol) != merged) continue;  // outdated
    parts[i].symbol = merged;
    parts[i].next = parts[j].next;
    parts[j].symbol = kNone;
    if (parts[i].next < size) parts[parts[i].next].previous = i;
    propose(parts[i].previous);
    propose(i);
  }
  std::vector<Symbol> symbols;
  for (size_t i = 0; i < size; i = parts[i].next) symbols.push_back(parts[i].symbol);
  return symbols;
}

}  // namespace tessera::text
