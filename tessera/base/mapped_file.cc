// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/mapped_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

namespace tessera {
namespace {

/// Takes errno of the call that just failed.
Error system_error(std::string_view call, const std::filesystem::path& path,
                   std::source_location where = std::source_location::current()) {
  const int number = errno;
  return make_error(
      number == ENOENT ? ErrorCode::not_found : ErrorCode::io,
      fmt::format("{} {}: {}", call, path.string(), std::generic_category().message(number)),
      where);
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  ~FileDescriptor() {
    if (number_ >= 0) ::close(number_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int number() const { return number_; }
  bool ok() const { return number_ >= 0; }
  int close() { return ::close(std::exchange(number_, -1)); }

 private:
  int number_;
};

Result<> write_and_sync(FileDescriptor& file, const std::filesystem::path& path,
                        std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.number(), bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return system_error("write", path);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  if (::fchmod(file.number(), 0644) != 0) return system_error("chmod", path);
  if (::fsync(file.number()) != 0) return system_error("sync", path);
  if (file.close() != 0) return system_error("close", path);
  return {};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return system_error("open", path);
  struct stat status{};
  if (::fstat(file.number(), &status) != 0) return system_error("stat", path);
  if (!S_ISREG(status.st_mode)) return io_error(fmt::format("{} is not a file", path.string()));
  MappedFile mapped;
  mapped.size_ = static_cast<size_t>(status.st_size);
  if (mapped.size_ == 0) return mapped;  // mmap refuses empty ranges
  void* address = ::mmap(nullptr, mapped.size_, PROT_READ, MAP_SHARED, file.number(), 0);
  if (address == MAP_FAILED) return system_error("map", path);
  mapped.data_ = static_cast<const std::byte*>(address);
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(size_, taken.size_);
  return *this;
}

static void advise(std::span<const std::byte> all, size_t offset, size_t length, int advice) {
  if (offset >= all.size() || length == 0) return;
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;
  const size_t end = offset + std::min(length, all.size() - offset);
  ::madvise(const_cast<std::byte*>(all.data()) + begin, end - begin, advice);  // a hint: may fail
}

void MappedFile::will_need(size_t offset, size_t length) const {
  advise(bytes(), offset, length, MADV_WILLNEED);
}
void MappedFile::dont_need(size_t offset, size_t length) const {
  advise(bytes(), offset, length, MADV_DONTNEED);
}

Result<> write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::string temporary = path.string() + ".XXXXXX";
  FileDescriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file.ok()) return system_error("create", temporary);
  if (Result<> written = write_and_sync(file, temporary, bytes); !written.ok()) {
    ::unlink(temporary.c_str());
    return written;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    Error error = system_error("rename to", path);
    ::unlink(temporary.c_str());
    return error;
  }
  // The new name itself must survive a crash too; not every file system lets a folder be synced.
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  if (FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      opened.ok())
    (void)::fsync(opened.number());
  return {};
}

Result<> write_file_atomic(const std::filesystem::path& path, std::string_view text) {
  return write_file_atomic(path, std::as_bytes(std::span(text)));
}

}  // namespace tessera
