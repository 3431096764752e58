// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/atomic_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <cstdlib>
#include <system_error>
#include <utility>

namespace tessera {

Error system_error(std::string_view call, const std::filesystem::path& path,
                   std::source_location where) {
  const int number = errno;
  return make_error(
      number == ENOENT ? ErrorCode::not_found : ErrorCode::io,
      fmt::format("{} {}: {}", call, path.string(), std::generic_category().message(number)),
      where);
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path) {
  AtomicFile created;
  std::string temporary = path.string() + ".XXXXXX";
  created.file_ = FileDescriptor(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!created.file_.ok()) return system_error("create", temporary);
  created.path_ = path;
  created.temporary_ = std::move(temporary);
  return created;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::move(other.file_)),
      written_(other.written_),
      started_(other.started_) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  AtomicFile taken(std::move(other));
  std::swap(path_, taken.path_);
  std::swap(temporary_, taken.temporary_);
  std::swap(file_, taken.file_);
  std::swap(written_, taken.written_);
  std::swap(started_, taken.started_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<> AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_.number(), bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return system_error("write", temporary_);
    }
    written_ += written;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  constexpr int64_t kStep = int64_t{8} << 20;
  if (written_ - started_ >= kStep) {
    ::sync_file_range(file_.number(), started_, written_ - started_, SYNC_FILE_RANGE_WRITE);
    started_ = written_;
  }
  return {};
}

Result<> AtomicFile::commit() {
  if (::fchmod(file_.number(), 0644) != 0) return system_error("chmod", temporary_);
  if (::fsync(file_.number()) != 0) return system_error("sync", temporary_);
  if (file_.close() != 0) return system_error("close", temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error("rename to", path_);
  temporary_.clear();
  // The new name itself must survive a crash too; not every file system lets a folder be synced.
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
  if (FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      opened.ok())
    (void)::fsync(opened.number());
  return {};
}

}  // namespace tessera
