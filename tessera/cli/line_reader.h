// SPDX-License-Identifier: Apache-2.0
// Lines a person types, with editing and a history on a terminal.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace tessera::cli {

class LineReader {
 public:
  LineReader();
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  /// Without the line break; empty after Ctrl-C, nullopt at the end of input. `prompt` is shown on
  /// a terminal only.
  std::optional<std::string> read(const std::string& prompt);

 private:
  struct Terminal;
  std::unique_ptr<Terminal> terminal_;  // null: standard input is no terminal
};

}  // namespace tessera::cli
