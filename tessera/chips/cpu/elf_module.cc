// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cpu/elf_module.h"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace tessera::chips::cpu {
namespace {

struct Machine {
  std::string_view format;
  uint16_t id;
};

#if defined(__x86_64__)
constexpr Machine kMachine = {"elf.x86-64", EM_X86_64};
#elif defined(__aarch64__)
constexpr Machine kMachine = {"elf.aarch64", EM_AARCH64};
#elif defined(__riscv)
constexpr Machine kMachine = {"elf.riscv64", EM_RISCV};
#elif defined(__loongarch64)
constexpr Machine kMachine = {"elf.loongarch64", 258};
#elif defined(__powerpc64__)
constexpr Machine kMachine = {"elf.ppc64le", EM_PPC64};
#endif

/// The loader takes two objects of one path for the same one, and a closed descriptor's number is
/// used again. So each load spells the directory differently: a counter in binary, "./" and ".//".
std::string unique_path(int descriptor) {
  static std::atomic<uint64_t> loads{0};
  std::string path = "/proc/self/fd/";
  for (uint64_t number = loads.fetch_add(1, std::memory_order_relaxed) + 1; number != 0;
       number >>= 1)
    path += number & 1 ? ".//" : "./";
  return path + std::to_string(descriptor);
}

Result<void> write_all(int descriptor, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      return io_error(fmt::format("writing a kernel of {} bytes to memory: {}", bytes.size(),
                                  std::strerror(errno)));
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

std::string_view elf_format() { return kMachine.format; }

Result<void> check_elf(std::span<const std::byte> bytes) {
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header)
    return corrupt(
        fmt::format("kernel object: {} bytes are too few for an ELF header", bytes.size()));
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return corrupt("kernel object: not an ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != kMachine.id)
    return unsupported(
        fmt::format("kernel object: ELF class {}, byte order {}, machine {}; {} needs 2, 1, {}",
                    header.e_ident[EI_CLASS], header.e_ident[EI_DATA], header.e_machine,
                    kMachine.format, kMachine.id));
  if (header.e_type != ET_DYN)
    return unsupported(
        fmt::format("kernel object: ELF type {}, not a shared object ({})", header.e_type, ET_DYN));
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > bytes.size() ||
      header.e_phnum > (bytes.size() - header.e_phoff) / sizeof(Elf64_Phdr))
    return corrupt("kernel object: program headers outside the file");
  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, bytes.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_offset > bytes.size() || segment.p_filesz > bytes.size() - segment.p_offset)
      return corrupt(fmt::format("kernel object: segment {} ends behind the {} bytes of the file",
                                 i, bytes.size()));
  }
  return {};
}

Result<ElfModule> ElfModule::load(std::span<const std::byte> bytes) {
  TESSERA_TRY(check_elf(bytes));
  const int descriptor = memfd_create("tessera-kernel", MFD_CLOEXEC);
  if (descriptor < 0) return io_error(fmt::format("memfd_create: {}", std::strerror(errno)));
  auto written = write_all(descriptor, bytes);
  void* handle =
      written.ok() ? dlopen(unique_path(descriptor).c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  close(descriptor);
  TESSERA_TRY(std::move(written));
  if (handle == nullptr) return corrupt(fmt::format("kernel object: {}", dlerror()));
  return ElfModule(handle);
}

ElfModule::ElfModule(ElfModule&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

ElfModule::~ElfModule() {
  if (handle_ != nullptr) dlclose(handle_);
}

Result<void*> ElfModule::symbol(const std::string& name) const {
  void* address = dlsym(handle_, name.c_str());
  if (address == nullptr) return not_found(fmt::format("kernel object: no symbol \"{}\"", name));
  return address;
}

}  // namespace tessera::chips::cpu
