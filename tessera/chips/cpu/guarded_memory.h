// SPDX-License-Identifier: Apache-2.0
// Pages of host memory between two unmapped guard pages, so that a kernel that leaves its buffer
// faults instead of corrupting a neighbour (sanitizers do not see generated code).
#pragma once

#include <cstddef>

#include "tessera/base/result.h"

namespace tessera::chips::cpu {

enum class Placement {
  kPageStart,  // byte 0 lies at the start of a page (of a huge page from 2 MiB on)
  kGuardEnd,   // the last byte lies as near to the guard behind it as 64-byte alignment allows
};

class GuardedMemory {
 public:
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kHugePage = size_t{2} << 20;

  /// Zero bytes give an address that faults when touched. Fails with the system's reason.
  static Result<GuardedMemory> map(size_t bytes, Placement placement);

  GuardedMemory(GuardedMemory&& other) noexcept;
  GuardedMemory& operator=(GuardedMemory&&) = delete;
  ~GuardedMemory();

  std::byte* data() const { return data_; }

 private:
  GuardedMemory(std::byte* mapping, size_t mapped, std::byte* data)
      : mapping_(mapping), mapped_(mapped), data_(data) {}

  std::byte* mapping_;  // guards included
  size_t mapped_;
  std::byte* data_;
};

}  // namespace tessera::chips::cpu
