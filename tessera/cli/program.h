// SPDX-License-Identifier: Apache-2.0
// What a program is linked with. tools/tessera.cc has the compiler, tools/tessera-rt.cc has none;
// the commands are the same.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tessera/kernels/provider.h"

namespace tessera::cli {

struct Program {
  std::string name;
  std::shared_ptr<kernels::Provider> compiler;  // null: packs only
  /// What `compiler` serves (DeviceInfo::arch), whether or not a device of it is here.
  std::vector<std::string> architectures;
};

/// Parses the command line, runs the command and returns the exit code: 0 fine, 1 failed, 2 wrong
/// use.
int run_program(const Program& program, int argc, const char* const* argv);

}  // namespace tessera::cli
