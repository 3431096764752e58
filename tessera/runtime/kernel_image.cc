// SPDX-License-Identifier: Apache-2.0
// Layout: magic, version, then the fields in order (strings and code as u32/u64 length + bytes),
// then the low 64 bits of the hash of everything before.
#include "tessera/runtime/kernel_image.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <string_view>

#include "tessera/base/hash.h"

namespace tessera::runtime {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kMagic = 0x494b5354;  // "TSKI"
constexpr uint32_t kVersion = 1;

class Writer {
 public:
  template <class T>
  void number(T value) {
    append(&value, sizeof value);
  }
  void text(std::string_view text) {
    number(static_cast<uint32_t>(text.size()));
    append(text.data(), text.size());
  }
  void append(const void* data, size_t bytes) {
    const auto* first = static_cast<const std::byte*>(data);
    out.insert(out.end(), first, first + bytes);
  }
  std::vector<std::byte> out;
};

/// Every read is checked; after the first short read all further ones yield zeros.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <class T>
  T number() {
    T value{};
    const auto bytes = take(sizeof value);
    if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string text() {
    const auto bytes = take(number<uint32_t>());
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::span<const std::byte> take(uint64_t bytes) {
    if (bytes > rest_.size()) {
      short_ = true;
      rest_ = {};
    }
    if (short_) return {};
    const auto taken = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return taken;
  }
  bool complete() const { return !short_ && rest_.empty(); }
  bool failed() const { return short_; }

 private:
  std::span<const std::byte> rest_;
  bool short_ = false;
};

}  // namespace

std::vector<std::byte> serialise(const KernelImage& image) {
  Writer writer;
  writer.number(kMagic);
  writer.number(kVersion);
  writer.text(image.format);
  writer.text(image.entry);
  writer.number(image.slot_count);
  writer.number(image.workgroup_size);
  writer.number(image.shared_bytes);
  writer.number(static_cast<uint32_t>(image.required_features.size()));
  for (const std::string& feature : image.required_features) writer.text(feature);
  writer.number(static_cast<uint64_t>(image.code.size()));
  writer.append(image.code.data(), image.code.size());
  writer.number(hash128(writer.out).low);
  return std::move(writer.out);
}

Result<KernelImage> parse_kernel_image(std::span<const std::byte> bytes) {
  constexpr size_t kChecksumBytes = sizeof(uint64_t);
  if (bytes.size() < kChecksumBytes + 2 * sizeof(uint32_t))
    return corrupt(fmt::format("kernel image: {} bytes are too few", bytes.size()));
  const auto body = bytes.first(bytes.size() - kChecksumBytes);
  Reader reader(body);
  if (const auto magic = reader.number<uint32_t>(); magic != kMagic)
    return corrupt(fmt::format("kernel image: bad magic {:#010x}", magic));
  if (const auto version = reader.number<uint32_t>(); version != kVersion)
    return corrupt(
        fmt::format("kernel image: version {}, this program reads {}", version, kVersion));
  uint64_t stored = 0;
  std::memcpy(&stored, bytes.data() + body.size(), sizeof stored);
  if (const uint64_t actual = hash128(body).low; actual != stored)
    return corrupt(fmt::format("kernel image: checksum {:#018x}, but the {} bytes give {:#018x}",
                               stored, body.size(), actual));

  KernelImage image;
  image.format = reader.text();
  image.entry = reader.text();
  image.slot_count = reader.number<uint32_t>();
  image.workgroup_size = reader.number<uint32_t>();
  image.shared_bytes = reader.number<uint32_t>();
  const auto features = reader.number<uint32_t>();
  for (uint32_t i = 0; i < features && !reader.failed(); ++i)
    image.required_features.push_back(reader.text());
  const auto code = reader.take(reader.number<uint64_t>());
  image.code.assign(code.begin(), code.end());
  if (!reader.complete()) return corrupt("kernel image: the lengths inside do not match its size");
  if (image.workgroup_size == 0) return corrupt("kernel image: a workgroup of 0 threads");
  return image;
}

}  // namespace tessera::runtime
