// SPDX-License-Identifier: Apache-2.0
// From argv to a command and its arguments. The only place that knows the parser library.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "tessera/cli/command.h"

namespace tessera::cli {

struct ParsedCommand {
  const CommandSpec* command = nullptr;  // null: print `text` and exit with `exit_code`
  Arguments arguments;
  std::string text;
  int exit_code = 0;
};

ParsedCommand parse_command_line(std::string_view program, std::string_view version,
                                 std::span<const CommandSpec> commands, int argc,
                                 const char* const* argv);

}  // namespace tessera::cli
