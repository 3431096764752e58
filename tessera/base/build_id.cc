// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/build_id.h"

#include <elf.h>
#include <fmt/format.h>
#include <link.h>

#include <cstring>
#include <span>

namespace tessera {
namespace {

/// Notes: name size, content size, type (u32 each), name, content, each padded to 4 bytes.
std::string build_id_in(std::span<const unsigned char> notes) {
  const auto padded = [](size_t bytes) { return (bytes + 3) / 4 * 4; };
  ElfW(Nhdr) note;
  while (notes.size() >= sizeof note) {
    std::memcpy(&note, notes.data(), sizeof note);
    const size_t content = sizeof note + padded(note.n_namesz);
    const size_t end = content + padded(note.n_descsz);
    if (end > notes.size()) break;
    if (note.n_type == NT_GNU_BUILD_ID) {
      std::string text;
      for (const unsigned char byte : notes.subspan(content, note.n_descsz))
        text += fmt::format("{:02x}", byte);
      return text;
    }
    notes = notes.subspan(end);
  }
  return {};
}

/// Of the first object, which is the program.
int read_program(dl_phdr_info* info, size_t, void* out) {
  for (const auto& header : std::span(info->dlpi_phdr, info->dlpi_phnum)) {
    if (header.p_type != PT_NOTE) continue;
    const auto* begin = reinterpret_cast<const unsigned char*>(info->dlpi_addr + header.p_vaddr);
    auto& id = *static_cast<std::string*>(out);
    id = build_id_in({begin, header.p_memsz});
    if (!id.empty()) break;
  }
  return 1;
}

}  // namespace

std::string build_id() {
  std::string id;
  dl_iterate_phdr(read_program, &id);
  return id;
}

}  // namespace tessera
