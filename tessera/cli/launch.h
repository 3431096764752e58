// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tessera/cli/command.h"

namespace tessera::cli {

/// A positional whose name ends with ".." takes all words from there on.
CommandSpec launch_command();

}  // namespace tessera::cli
