// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/mapped_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "tessera/base/atomic_file.h"

namespace tessera {
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
  TESSERA_ASSIGN(AtomicFile file, AtomicFile::create(path));
  TESSERA_TRY(file.write(bytes));
  return file.commit();
}

Result<> write_file_atomic(const std::filesystem::path& path, std::string_view text) {
  return write_file_atomic(path, std::as_bytes(std::span(text)));
}

}  // namespace tessera
