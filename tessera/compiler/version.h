// SPDX-License-Identifier: Apache-2.0
// Which compiler this is. Two that would make different code of one trace differ here.
#pragma once

#include <string_view>

namespace tessera::compiler {

/// "<hash of the compiler's sources> llvm <version of the library in use>". The build computes the
/// hash: it changes with every source of language, passes, lowerings and targets.
std::string_view compiler_version();

}  // namespace tessera::compiler
