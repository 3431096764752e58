// SPDX-License-Identifier: Apache-2.0
// Compiled kernels kept between runs: one file an image, named by a key over everything the image
// depends on. Files that are truncated, altered or of another format are reported once and rebuilt;
// any number of processes may share a folder.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/base/hash.h"
#include "tessera/base/result.h"
#include "tessera/lang/trace.h"
#include "tessera/runtime/kernel_image.h"

namespace tessera::kernels {

class DiskCache {
 public:
  /// $TESSERA_CACHE_DIR, else $XDG_CACHE_HOME/tessera, else ~/.cache/tessera; empty if none is set.
  static std::filesystem::path default_folder();

  /// Makes the folder when it is first written to.
  explicit DiskCache(std::filesystem::path folder);

  /// `identity`: of the provider, Provider::identity().
  static Hash128 key(const lang::Trace& trace, std::string_view identity);

  /// Whether there is a file; find() may still refuse it.
  bool contains(const Hash128& key) const;
  /// Empty when there is no such file or it cannot be trusted; the reason of the latter is logged.
  std::optional<runtime::KernelImage> find(const Hash128& key);
  /// A folder that cannot be written gives one warning for the life of the object, never an error.
  void store(const Hash128& key, const runtime::KernelImage& image);

  /// Keys kept under a name of their own: of images that are wanted together. As find() and
  /// store().
  std::optional<std::vector<Hash128>> find_list(const Hash128& name);
  void store_list(const Hash128& name, std::span<const Hash128> keys);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path path_of(const Hash128& key) const;
  std::filesystem::path path_of_list(const Hash128& name) const;

  struct Usage {
    int64_t files = 0;
    int64_t bytes = 0;
  };
  Usage usage() const;
  /// What is wrong with writing to the folder, tried with a file.
  Result<void> check_writable() const;

 private:
  template <class T>
  std::optional<T> read(const std::filesystem::path& path, const Hash128& key,
                        Result<T> (*parse)(std::span<const std::byte> payload));
  void write(const std::filesystem::path& path, const Hash128& key,
             std::span<const std::byte> payload);

  std::filesystem::path folder_;
  std::atomic<bool> write_failed_{false};
};

}  // namespace tessera::kernels
