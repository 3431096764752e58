// SPDX-License-Identifier: Apache-2.0
// A shared object in memory, loaded into this process: how compiled CPU kernels run.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tessera/base/result.h"

namespace tessera::chips::cpu {

/// Image format of this architecture: "elf.x86-64".
std::string_view elf_format();

/// `corrupt` or `unsupported` unless the bytes are an ELF64 shared object of this architecture
/// whose headers and segments lie within them.
Result<void> check_elf(std::span<const std::byte> bytes);

class ElfModule {
 public:
  static Result<ElfModule> load(std::span<const std::byte> bytes);

  ElfModule(ElfModule&& other) noexcept;
  ElfModule& operator=(ElfModule&&) = delete;
  ~ElfModule();

  /// Address of a defined symbol.
  Result<void*> symbol(const std::string& name) const;

 private:
  explicit ElfModule(void* handle) : handle_(handle) {}
  void* handle_;
};

}  // namespace tessera::chips::cpu
