// SPDX-License-Identifier: Apache-2.0
// A file that appears whole or not at all: written beside its path, synced, then renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "tessera/base/file_descriptor.h"
#include "tessera/base/result.h"

namespace tessera {

/// Movable. Without commit() the destructor removes what was written. Safe with concurrent writers:
/// the last commit wins.
class AtomicFile {
 public:
  /// The folder of `path` must exist.
  static Result<AtomicFile> create(const std::filesystem::path& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  /// Appends. What is complete starts on its way to the disk, so that commit() has little to wait
  /// for and dirty pages stay few.
  Result<> write(std::span<const std::byte> bytes);
  Result<> commit();

 private:
  AtomicFile() = default;

  std::filesystem::path path_;
  std::string temporary_;  // empty once there is nothing to remove
  FileDescriptor file_;
  int64_t written_ = 0, started_ = 0;  // bytes
};

}  // namespace tessera
