// SPDX-License-Identifier: Apache-2.0
#include "tessera/comm/nccl_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace tessera::comm {

Result<NcclLibrary> NcclLibrary::open(const std::string& path) {
  const std::string file = path.empty() ? "libnccl.so.2" : path;
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return make_error(ErrorCode::unavailable, fmt::format("no NCCL: {} cannot be opened", file));
  NcclLibrary nccl;
#define NCCL_SYMBOL(member, name, parameters)                                  \
  nccl.member = reinterpret_cast<decltype(nccl.member)>(dlsym(library, name)); \
  if (!nccl.member)                                                            \
    return make_error(ErrorCode::unavailable,                                  \
                      fmt::format("{} is too old: it lacks {}", file, name));
#include "tessera/comm/nccl_symbols.inc"
  nccl.error_text =
      reinterpret_cast<decltype(nccl.error_text)>(dlsym(library, "ncclGetErrorString"));
  return nccl;
}

Result<> NcclLibrary::check(std::string_view what, int status) const {
  if (status == kSuccess || status == kInProgress) [[likely]]
    return {};
  return make_error(ErrorCode::unavailable,
                    fmt::format("{}: NCCL error {} ({})", what, status,
                                error_text ? error_text(status) : "unknown"));
}

}  // namespace tessera::comm
