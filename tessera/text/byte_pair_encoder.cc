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

constexpr int kFilterBits = 21;  // 256 KiB, which stays in a core's cache

uint64_t hash(uint64_t key) {
  key *= 0x9E3779B97F4A7C15ull;
  return (key ^ key >> 32) * 0xD6E8FEB86659FD93ull;
}

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
  encoder.filter_.assign((size_t{1} << kFilterBits) / 64, 0);
  encoder.bytes_.reserve(256 + merges.size());
  encoder.parts_.reserve(256 + merges.size());
  for (Symbol byte = 0; byte < 256; ++byte) {
    encoder.bytes_.emplace_back(1, static_cast<char>(byte));
    encoder.parts_.push_back({byte, byte});
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
    encoder.parts_.push_back({left, right});
    encoder.bytes_.push_back(std::move(bytes));
  }
  TESSERA_TRY(encoder.index_symbols());
  return encoder;
}

Result<> BytePairEncoder::add_pair(Symbol left, Symbol right, Symbol merged) {
  const uint64_t key = uint64_t{left} << kSymbolBits | right;
  const uint64_t hashed = hash(key);
  const uint64_t bit = hashed & ((1u << kFilterBits) - 1);
  filter_[bit / 64] |= uint64_t{1} << bit % 64;
  size_t slot = hashed >> pair_shift_;
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
  const uint64_t hashed = hash(key);
  const uint64_t bit = hashed & ((1u << kFilterBits) - 1);
  if (!(filter_[bit / 64] >> bit % 64 & 1)) return kNone;
  size_t slot = hashed >> pair_shift_;
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
  // below the merge that the border saw next. Of equals the left one wins, hence the + 1 at the
  // right.
  while (true) {
    const Symbol merged = merge_of(left, right);
    if (merged != kNone && merged < limit) return false;
    if (left < 256 && right < 256) return true;
    if (left > right) {
      limit = left;
      left = parts_[left].right;
    } else {
      limit = right + 1;
      right = parts_[right].left;
    }
  }
}

Result<> BytePairEncoder::index_symbols() {
  std::vector<std::pair<std::string_view, uint32_t>> entries;
  entries.reserve(bytes_.size());
  size_t total_bytes = 0;
  for (Symbol symbol = 0; symbol < bytes_.size(); ++symbol) {
    entries.emplace_back(bytes_[symbol], symbol);
    total_bytes += bytes_[symbol].size();
  }
  if (total_bytes > ByteTrie::kMostBytes)
    return unsupported(
        fmt::format("tokens of {} bytes in all, at most {}", total_bytes, ByteTrie::kMostBytes));
  std::ranges::sort(entries);
  const auto twice = std::ranges::adjacent_find(
      entries, [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != entries.end())
    return unsupported(fmt::format("merges {} and {} make the same token", twice->second - 256,
                                   (twice + 1)->second - 256));
  // A symbol that its own bytes do not give appears nowhere, nor does what is made of it.
  std::vector<bool> reachable(bytes_.size(), true);
  for (Symbol symbol = 256; symbol < bytes_.size(); ++symbol) {
    const auto [left, right] = parts_[symbol];
    reachable[symbol] = reachable[left] && reachable[right] && stay_apart(left, right, symbol);
  }
  std::erase_if(entries, [&](const auto& entry) { return !reachable[entry.second]; });
  trie_ = ByteTrie(entries);
  shorter_.assign(bytes_.size(), kNone);
  for (const auto& [bytes, symbol] : entries)
    shorter_[symbol] = trie_.longest_match(bytes.substr(0, bytes.size() - 1)).value;
  return {};
}

void BytePairEncoder::encode(std::string_view bytes, Scratch& scratch) const {
  auto& [symbols, starts, dead] = scratch;
  symbols.clear();
  starts.clear();
  ByteTrie::Match candidate = trie_.longest_match(bytes);
  if (candidate.length == bytes.size()) {
    if (!bytes.empty()) symbols.push_back(candidate.value);
    return;
  }
  dead.assign(bytes.size() + 1, 0);
  size_t position = 0;
  while (true) {
    const size_t end = position + candidate.length;
    if (!dead[end] && (symbols.empty() || stay_apart(symbols.back(), candidate.value, kNone))) {
      symbols.push_back(candidate.value);
      starts.push_back(position);
      if (end == bytes.size()) return;
      position = end;
      candidate = trie_.longest_match(bytes.substr(position));
      continue;
    }
    candidate.value = shorter_[candidate.value];
    while (candidate.value == kNone) {  // nothing fits: take the last symbol back, try shorter ones
      TESSERA_CHECK(!symbols.empty());  // single bytes always fit at the start
      dead[position] = 1;
      candidate.value = shorter_[symbols.back()];
      position = starts.back();
      symbols.pop_back();
      starts.pop_back();
    }
    candidate.length = bytes_[candidate.value].size();
  }
}

std::vector<BytePairEncoder::Symbol> BytePairEncoder::encode_by_merges(
    std::string_view bytes) const {
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
