// SPDX-License-Identifier: Apache-2.0
// 128-bit content hash (XXH3): keys of caches and packs. Not cryptographic. Stable across machines
// and releases.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace tessera {

struct Hash128 {
  uint64_t low = 0, high = 0;

  auto operator<=>(const Hash128&) const = default;

  /// 32 lower-case hex digits, high half first.
  std::string hex() const;
};

Hash128 hash128(std::span<const std::byte> bytes);
Hash128 hash128(std::string_view text);

/// Incremental form: the digest depends on the concatenated bytes only, so write lengths
/// (add(string) does) where fields could run into each other.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  Hasher& add_bytes(std::span<const std::byte> bytes);

  /// Length, then the characters.
  Hasher& add(std::string_view text);
  Hasher& add(const char* text) { return add(std::string_view(text)); }

  /// Integers and enums count as their own width; floats as their bits.
  template <class T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  Hasher& add(T value) {
    return add_bytes(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  Hasher& add(const Hash128& hash) { return add(hash.low).add(hash.high); }

  /// May be called at any time; more can be added afterwards.
  Hash128 digest() const;

 private:
  struct Free {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, Free> state_;
};

}  // namespace tessera

template <>
struct std::hash<tessera::Hash128> {
  size_t operator()(const tessera::Hash128& hash) const noexcept { return hash.low; }
};
