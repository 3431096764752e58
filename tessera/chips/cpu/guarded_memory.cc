// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/guarded_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace tessera::chips::cpu {
namespace {

size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

Error system_refused(size_t bytes) {
  return out_of_memory(
      fmt::format("the system refused to map {} bytes: {}", bytes, std::strerror(errno)));
}

}  // namespace

Result<GuardedMemory> GuardedMemory::map(size_t bytes, Placement placement) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const bool huge = bytes >= kHugePage;
  if (bytes > SIZE_MAX / 2) {
    errno = ENOMEM;
    return system_refused(bytes);
  }
  const size_t usable = round_up(bytes, page);
  // [slack] guard [usable] guard [slack]: slack lets the usable part start on a huge page.
  const size_t reserved = usable + 2 * page + (huge ? kHugePage : 0);
  void* reservation =
      mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reservation == MAP_FAILED) return system_refused(bytes);

  auto* begin = static_cast<std::byte*>(reservation);
  std::byte* first = begin + page;
  if (huge) {
    const auto address = reinterpret_cast<uintptr_t>(first);
    first += round_up(address, kHugePage) - address;
  }
  std::byte* mapping = first - page;
  const size_t mapped = usable + 2 * page;
  if (mapping > begin) munmap(begin, static_cast<size_t>(mapping - begin));
  const size_t behind = static_cast<size_t>(begin + reserved - (mapping + mapped));
  if (behind > 0) munmap(mapping + mapped, behind);

  if (usable > 0 && mprotect(first, usable, PROT_READ | PROT_WRITE) != 0) {
    const Error error = system_refused(bytes);
    munmap(mapping, mapped);
    return error;
  }
  if (huge) madvise(first, usable, MADV_HUGEPAGE);  // advice: works without
  std::byte* data =
      placement == Placement::kGuardEnd ? first + usable - round_up(bytes, kAlignment) : first;
  return GuardedMemory(mapping, mapped, data);
}

GuardedMemory::GuardedMemory(GuardedMemory&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapped_(other.mapped_),
      data_(other.data_) {}

GuardedMemory::~GuardedMemory() {
  if (mapping_ != nullptr) munmap(mapping_, mapped_);
}

}  // namespace tessera::chips::cpu
