// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/version.h"

#include <fmt/format.h>
#include <llvm-c/Core.h>

#include <string>

#include "tessera/compiler/source_hash.h"  // generated

namespace tessera::compiler {

std::string_view compiler_version() {
  static const std::string version = [] {
    // The library is shared and may be newer than the headers this was built with.
    unsigned major = 0, minor = 0, patch = 0;
    LLVMGetVersion(&major, &minor, &patch);
    return fmt::format("{} llvm {}.{}.{}", kSourceHash, major, minor, patch);
  }();
  return version;
}

}  // namespace tessera::compiler
