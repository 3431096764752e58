// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/hash.h"

#include <fmt/core.h>
#include <xxhash.h>

#include "tessera/base/check.h"

namespace tessera {
namespace {
Hash128 from_xxh(XXH128_hash_t hash) { return {hash.low64, hash.high64}; }
XXH3_state_t* as_xxh(void* state) { return static_cast<XXH3_state_t*>(state); }
}  // namespace

std::string Hash128::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

Hash128 hash128(std::span<const std::byte> bytes) {
  return from_xxh(XXH3_128bits(bytes.data(), bytes.size()));
}

Hash128 hash128(std::string_view text) { return hash128(std::as_bytes(std::span(text))); }

Hasher::Hasher() : state_(XXH3_createState()) {
  TESSERA_CHECK(state_ != nullptr, "out of memory");
  XXH3_128bits_reset(as_xxh(state_.get()));
}
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::Free::operator()(void* state) const { XXH3_freeState(as_xxh(state)); }

Hasher& Hasher::add_bytes(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_128bits_update(as_xxh(state_.get()), bytes.data(), bytes.size());
  return *this;
}

Hasher& Hasher::add(std::string_view text) {
  return add(static_cast<uint64_t>(text.size())).add_bytes(std::as_bytes(std::span(text)));
}

Hash128 Hasher::digest() const { return from_xxh(XXH3_128bits_digest(as_xxh(state_.get()))); }

}  // namespace tessera
