// SPDX-License-Identifier: Apache-2.0
// A file mapped read-only, and the safe way to write one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

#include "tessera/base/result.h"

namespace tessera {

/// Movable; the mapping ends with the object. The file must not shrink meanwhile.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  /// Hints for the pages that hold [offset, offset + length); no effect on contents.
  void will_need(size_t offset, size_t length) const;
  void dont_need(size_t offset, size_t length) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Writes a temporary file beside `path`, syncs it and renames it: readers see the old or the new
/// file, never a part. Safe with concurrent writers (the last one wins). The folder must exist.
Result<> write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes);
Result<> write_file_atomic(const std::filesystem::path& path, std::string_view text);

}  // namespace tessera
