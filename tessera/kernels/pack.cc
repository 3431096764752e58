// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <tuple>
#include <type_traits>

namespace tessera::kernels {
namespace {

struct Header {
  uint32_t magic = 0x504b5354;  // "TSKP"
  uint32_t version = 2;
  uint64_t index_offset = 0;
  uint64_t index_bytes = 0;
  Hash128 index_checksum;
};
static_assert(sizeof(Header) == 40 && std::is_trivially_copyable_v<Header>);

constexpr uint64_t kImageAlignment = 64;

auto order(std::string_view arch, const Hash128& trace) { return std::tuple(arch, trace); }
auto order(const Pack::Entry& entry) { return order(entry.arch, entry.trace); }

class IndexWriter {
 public:
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void number(const T& value) {
    append(&value, sizeof value);
  }
  void text(std::string_view text) {
    number(static_cast<uint32_t>(text.size()));
    append(text.data(), text.size());
  }
  std::vector<std::byte> bytes;

 private:
  void append(const void* data, size_t count) {
    const auto* first = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), first, first + count);
  }
};

/// After the first short read all further ones give zeros.
class IndexReader {
 public:
  explicit IndexReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  template <class T>
    requires std::is_trivially_copyable_v<T>
  T number() {
    T value{};
    if (const auto bytes = take(sizeof value); !bytes.empty())
      std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string text() {
    const auto bytes = take(number<uint32_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  bool complete() const { return !short_ && rest_.empty(); }
  bool failed() const { return short_; }

 private:
  std::span<const std::byte> take(uint64_t count) {
    short_ = short_ || count > rest_.size();
    if (short_) return {};
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  std::span<const std::byte> rest_;
  bool short_ = false;
};

Error damaged(const std::filesystem::path& path, std::string_view what) {
  return corrupt(
      fmt::format("pack {}: {}; make it again with `tessera pack`", path.string(), what));
}

}  // namespace

Result<std::shared_ptr<const Pack>> Pack::open(const std::filesystem::path& path) {
  std::shared_ptr<Pack> pack(new Pack);
  pack->path_ = path;
  auto file = MappedFile::open(path);
  if (!file.ok()) return std::move(file).context("opening the pack").error();
  pack->file_ = std::move(*file);
  TESSERA_TRY(pack->read_index());
  return std::shared_ptr<const Pack>(std::move(pack));
}

Result<void> Pack::read_index() {
  const auto file = file_.bytes();
  Header header, good;
  if (file.size() < sizeof header)
    return damaged(path_, fmt::format("{} bytes are too few", file.size()));
  std::memcpy(&header, file.data(), sizeof header);
  if (header.magic != good.magic) return damaged(path_, "not a kernel pack");
  if (header.version != good.version)
    return damaged(path_, fmt::format("format version {}, this program reads {}", header.version,
                                      good.version));
  if (header.index_offset > file.size() || header.index_bytes > file.size() - header.index_offset)
    return damaged(path_, fmt::format("truncated: the index ends at byte {}, the file has {}",
                                      header.index_offset + header.index_bytes, file.size()));
  const auto index = file.subspan(header.index_offset, header.index_bytes);
  if (hash128(index) != header.index_checksum)
    return damaged(path_, "the checksum of the index does not match");

  checksum_ = header.index_checksum;
  IndexReader reader(index);
  compiler_version_ = reader.text();
  tuning_ = reader.text();
  const auto count = reader.number<uint32_t>();
  for (uint32_t i = 0; i < count && !reader.failed(); ++i) {
    Entry entry;
    entry.arch = reader.text();
    entry.trace = reader.number<Hash128>();
    entry.kernel = reader.text();
    entry.offset = reader.number<uint64_t>();
    entry.bytes = reader.number<uint64_t>();
    entry.checksum = reader.number<Hash128>();
    entries_.push_back(std::move(entry));
  }
  if (!reader.complete()) return damaged(path_, "the index does not match its size");
  for (const Entry& entry : entries_)
    if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset)
      return damaged(path_, fmt::format("the image of {} lies outside the file", entry.kernel));
  if (!std::is_sorted(entries_.begin(), entries_.end(),
                      [](const Entry& a, const Entry& b) { return order(a) < order(b); }))
    return damaged(path_, "the index is not sorted");
  return {};
}

const Pack::Entry* Pack::entry(std::string_view arch, const Hash128& trace) const {
  const auto wanted = order(arch, trace);
  const auto found =
      std::lower_bound(entries_.begin(), entries_.end(), wanted,
                       [](const Entry& entry, const auto& key) { return order(entry) < key; });
  return found == entries_.end() || order(*found) != wanted ? nullptr : &*found;
}

bool Pack::contains(std::string_view arch, const Hash128& trace) const {
  return entry(arch, trace) != nullptr;
}

Result<std::optional<runtime::KernelImage>> Pack::find(std::string_view arch,
                                                       const Hash128& trace) const {
  const Entry* const found = entry(arch, trace);
  if (found == nullptr) return std::optional<runtime::KernelImage>();
  TESSERA_ASSIGN(auto taken, image(*found));
  return std::optional<runtime::KernelImage>(std::move(taken));
}

Result<runtime::KernelImage> Pack::image(const Entry& entry) const {
  const auto payload = file_.bytes().subspan(entry.offset, entry.bytes);
  if (hash128(payload) != entry.checksum)
    return damaged(path_, fmt::format("the checksum of the image of {} ({}) does not match",
                                      entry.kernel, entry.arch));
  auto image = runtime::parse_kernel_image(payload);
  if (!image.ok())
    return damaged(path_, fmt::format("{}: {}", entry.kernel, image.error().message));
  return std::move(*image);
}

Result<void> Pack::check_images() const {
  for (const Entry& entry : entries_) {
    TESSERA_TRY(image(entry));
  }
  return {};
}

std::vector<std::string> Pack::architectures() const {
  std::vector<std::string> all;
  for (const Entry& entry : entries_)
    if (all.empty() || all.back() != entry.arch) all.push_back(entry.arch);
  return all;
}

void PackWriter::add(std::string arch, Hash128 trace, std::string kernel,
                     const runtime::KernelImage& image) {
  Image added;
  added.payload = runtime::serialise(image);
  added.entry.arch = std::move(arch);
  added.entry.trace = trace;
  added.entry.kernel = std::move(kernel);
  added.entry.bytes = added.payload.size();
  added.entry.checksum = hash128(added.payload);
  const auto place = std::lower_bound(
      images_.begin(), images_.end(), added,
      [](const Image& a, const Image& b) { return order(a.entry) < order(b.entry); });
  if (place != images_.end() && order(place->entry) == order(added.entry))
    *place = std::move(added);
  else
    images_.insert(place, std::move(added));
}

Result<uint64_t> PackWriter::write(const std::filesystem::path& path) const {
  std::vector<std::byte> file(sizeof(Header));
  IndexWriter index;
  index.text(compiler_version_);
  index.text(tuning_);
  index.number(static_cast<uint32_t>(images_.size()));
  for (const Image& image : images_) {
    file.resize((file.size() + kImageAlignment - 1) / kImageAlignment * kImageAlignment);
    index.text(image.entry.arch);
    index.number(image.entry.trace);
    index.text(image.entry.kernel);
    index.number(static_cast<uint64_t>(file.size()));
    index.number(image.entry.bytes);
    index.number(image.entry.checksum);
    file.insert(file.end(), image.payload.begin(), image.payload.end());
  }
  Header header;
  header.index_offset = file.size();
  header.index_bytes = index.bytes.size();
  header.index_checksum = hash128(index.bytes);
  file.insert(file.end(), index.bytes.begin(), index.bytes.end());
  std::memcpy(file.data(), &header, sizeof header);
  auto written = write_file_atomic(path, file);
  if (!written.ok()) return std::move(written).context("writing the pack").error();
  return static_cast<uint64_t>(file.size());
}

}  // namespace tessera::kernels
