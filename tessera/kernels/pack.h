// SPDX-License-Identifier: Apache-2.0
// A kernel pack: one file with the images of many kernels for one or more architectures, compiled
// ahead of time. A program with a pack needs no compiler.
//
// Layout: header | images | index. The header says where the index is and holds its checksum; the
// index holds the checksum of every image, so opening reads a few kilobytes and each image is
// checked when it is taken. Images are found by architecture and hash of the trace. The index also
// holds the tuning file the kernels were planned with, as a text that is not looked at here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/hash.h"
#include "tessera/base/mapped_file.h"
#include "tessera/base/result.h"
#include "tessera/runtime/kernel_image.h"

namespace tessera::kernels {

class Pack {
 public:
  struct Entry {
    std::string arch;    // DeviceInfo::arch
    Hash128 trace;       // lang::Trace::hash()
    std::string kernel;  // "rms_norm.rows"
    uint64_t offset = 0;
    uint64_t bytes = 0;
    Hash128 checksum;
  };

  /// Any damage is `corrupt` with the file's name and what is wrong.
  static Result<std::shared_ptr<const Pack>> open(const std::filesystem::path& path);

  bool contains(std::string_view arch, const Hash128& trace) const;
  /// Empty when the pack has no such kernel; `corrupt` when the image is damaged.
  Result<std::optional<runtime::KernelImage>> find(std::string_view arch,
                                                   const Hash128& trace) const;

  const std::vector<Entry>& entries() const { return entries_; }  // sorted by arch and trace
  /// Reads every image; `corrupt` names the first damaged one.
  Result<void> check_images() const;

  /// Of everything the pack holds.
  const Hash128& checksum() const { return checksum_; }
  const std::filesystem::path& path() const { return path_; }
  const std::string& compiler_version() const { return compiler_version_; }
  const std::string& tuning() const { return tuning_; }  // empty: none
  std::vector<std::string> architectures() const;

 private:
  Pack() = default;
  Result<void> read_index();
  const Entry* entry(std::string_view arch, const Hash128& trace) const;
  Result<runtime::KernelImage> image(const Entry& entry) const;

  std::filesystem::path path_;
  MappedFile file_;
  Hash128 checksum_;
  std::string compiler_version_, tuning_;
  std::vector<Entry> entries_;
};

/// Collects images and writes them in one go. The bytes depend on what was added, not on the order.
class PackWriter {
 public:
  explicit PackWriter(std::string compiler_version)
      : compiler_version_(std::move(compiler_version)) {}
  /// The same architecture and trace again replace the earlier image.
  void add(std::string arch, Hash128 trace, std::string kernel, const runtime::KernelImage& image);
  void set_tuning(std::string text) { tuning_ = std::move(text); }
  size_t size() const { return images_.size(); }
  /// Size of the file. Replaces an older one atomically.
  Result<uint64_t> write(const std::filesystem::path& path) const;

 private:
  struct Image {
    Pack::Entry entry;
    std::vector<std::byte> payload;
  };
  std::string compiler_version_, tuning_;
  std::vector<Image> images_;
};

}  // namespace tessera::kernels
