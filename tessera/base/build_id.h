// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace tessera {

/// The linker's hash of the running program, in hex: other code, another text. Empty where the
/// program was linked without one (--build-id).
std::string build_id();

}  // namespace tessera
