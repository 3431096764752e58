// SPDX-License-Identifier: Apache-2.0
// An open file that closes itself, and errno as an Error.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <source_location>
#include <string_view>
#include <utility>

#include "tessera/base/result.h"

namespace tessera {

/// Takes errno of the call that just failed: not_found for ENOENT, else io.
Error system_error(std::string_view call, const std::filesystem::path& path,
                   std::source_location where = std::source_location::current());

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int number) : number_(number) {}
  ~FileDescriptor() {
    if (number_ >= 0) ::close(number_);
  }
  FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }

  int number() const { return number_; }
  bool ok() const { return number_ >= 0; }
  int close() { return ::close(std::exchange(number_, -1)); }

 private:
  int number_ = -1;
};

}  // namespace tessera
