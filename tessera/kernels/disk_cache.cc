// SPDX-License-Identifier: Apache-2.0
// A file is: magic, version, key, checksum of the payload, payload bytes (u64), payload.
#include "tessera/kernels/disk_cache.h"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "tessera/base/log.h"
#include "tessera/base/mapped_file.h"

namespace tessera::kernels {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".tsk", kListSuffix[] = ".list";

struct Header {
  uint32_t magic = 0x434b5354;  // "TSKC"
  uint32_t version = 1;
  Hash128 key;
  Hash128 checksum;
  uint64_t payload_bytes = 0;
};
static_assert(sizeof(Header) == 48 && std::is_trivially_copyable_v<Header>);

std::vector<std::byte> encode(const Hash128& key, std::span<const std::byte> payload) {
  Header header;
  header.key = key;
  header.checksum = hash128(payload);
  header.payload_bytes = payload.size();
  std::vector<std::byte> file(sizeof header + payload.size());
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, payload.data(), payload.size());
  return file;
}

/// The payload.
Result<std::span<const std::byte>> decode(const Hash128& key, std::span<const std::byte> file) {
  Header header, good;
  if (file.size() < sizeof header) return corrupt(fmt::format("{} bytes are too few", file.size()));
  std::memcpy(&header, file.data(), sizeof header);
  if (header.magic != good.magic) return corrupt("not a kernel cache file");
  if (header.version != good.version)
    return corrupt(
        fmt::format("format version {}, this program reads {}", header.version, good.version));
  if (header.key != key)
    return corrupt(fmt::format("it holds the kernel of key {}", header.key.hex()));
  const auto payload = file.subspan(sizeof header);
  if (header.payload_bytes != payload.size())
    return corrupt(fmt::format("{} bytes of {}", payload.size(), header.payload_bytes));
  if (hash128(payload) != header.checksum) return corrupt("the checksum does not match");
  return payload;
}

static_assert(sizeof(Hash128) == 16 && std::is_trivially_copyable_v<Hash128>);

Result<std::vector<Hash128>> parse_list(std::span<const std::byte> payload) {
  if (payload.size() % sizeof(Hash128) != 0)
    return corrupt(fmt::format("{} bytes are no list of keys", payload.size()));
  std::vector<Hash128> keys(payload.size() / sizeof(Hash128));
  if (!keys.empty()) std::memcpy(keys.data(), payload.data(), payload.size());
  return keys;
}

fs::path variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? fs::path() : fs::path(value);
}

}  // namespace

fs::path DiskCache::default_folder() {
  if (const fs::path own = variable("TESSERA_CACHE_DIR"); !own.empty()) return own;
  if (const fs::path xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg / "tessera";
  if (const fs::path home = variable("HOME"); !home.empty()) return home / ".cache" / "tessera";
  return {};
}

DiskCache::DiskCache(fs::path folder) : folder_(std::move(folder)) {}

Hash128 DiskCache::key(const lang::Trace& trace, std::string_view identity) {
  const std::vector<std::byte> bytes = trace.serialize();
  return Hasher().add(bytes.size()).add_bytes(bytes).add(identity).digest();
}

fs::path DiskCache::path_of(const Hash128& key) const { return folder_ / (key.hex() + kSuffix); }

bool DiskCache::contains(const Hash128& key) const {
  std::error_code ignored;
  return fs::is_regular_file(path_of(key), ignored);
}

fs::path DiskCache::path_of_list(const Hash128& name) const {
  return folder_ / (name.hex() + kListSuffix);
}

template <class T>
std::optional<T> DiskCache::read(const fs::path& path, const Hash128& key,
                                 Result<T> (*parse)(std::span<const std::byte> payload)) {
  auto file = MappedFile::open(path);
  if (!file.ok()) {
    if (file.error().code != ErrorCode::not_found)
      TESSERA_LOG(warn, "kernel cache: {}; compiling anew", file.error().message);
    return std::nullopt;
  }
  const auto parsed = [&]() -> Result<T> {
    TESSERA_ASSIGN(const auto payload, decode(key, file->bytes()));
    return parse(payload);
  };
  auto content = parsed();
  if (!content.ok()) {
    TESSERA_LOG(warn, "kernel cache: {}: {}; compiling anew", path.string(),
                content.error().message);
    return std::nullopt;
  }
  return std::move(*content);
}

std::optional<runtime::KernelImage> DiskCache::find(const Hash128& key) {
  return read(path_of(key), key, runtime::parse_kernel_image);
}

std::optional<std::vector<Hash128>> DiskCache::find_list(const Hash128& name) {
  return read(path_of_list(name), name, parse_list);
}

void DiskCache::write(const fs::path& path, const Hash128& key,
                      std::span<const std::byte> payload) {
  if (write_failed_.load(std::memory_order_relaxed)) return;
  std::error_code ignored;  // a folder that cannot be made fails below, with a better message
  fs::create_directories(folder_, ignored);
  auto written = write_file_atomic(path, encode(key, payload));
  if (!written.ok() && !write_failed_.exchange(true))
    TESSERA_LOG(warn,
                "kernel cache: {}; going on without (set TESSERA_CACHE_DIR to a writable folder)",
                written.error().message);
}

void DiskCache::store(const Hash128& key, const runtime::KernelImage& image) {
  write(path_of(key), key, runtime::serialise(image));
}

void DiskCache::store_list(const Hash128& name, std::span<const Hash128> keys) {
  write(path_of_list(name), name, std::as_bytes(keys));
}

DiskCache::Usage DiskCache::usage() const {
  Usage usage;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != kSuffix) continue;
    std::error_code gone;  // another process may have removed it
    const auto bytes = it->file_size(gone);
    if (gone) continue;
    ++usage.files;
    usage.bytes += static_cast<int64_t>(bytes);
  }
  return usage;
}

Result<void> DiskCache::check_writable() const {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return io_error(fmt::format("create {}: {}", folder_.string(), error.message()));
  const fs::path probe = folder_ / "write-test";
  TESSERA_TRY(write_file_atomic(probe, std::string_view("ok")));
  fs::remove(probe, error);
  return {};
}

}  // namespace tessera::kernels
