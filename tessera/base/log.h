// SPDX-License-Identifier: Apache-2.0
// Logging to stderr. The level comes from the environment variable TESSERA_LOG (debug, info, warn,
// error, off; default info) and can be changed by the program.
#pragma once

#include <fmt/core.h>

#include <source_location>
#include <string_view>

namespace tessera {

enum class LogLevel : int { debug, info, warn, error, off };

LogLevel log_level();
void set_log_level(LogLevel level);
inline bool log_enabled(LogLevel level) { return level >= log_level(); }

/// Begins every line this process logs from now on: "rank 3".
void set_log_prefix(std::string_view prefix);

void log_message(LogLevel level, std::string_view message, std::source_location where);

}  // namespace tessera

/// TESSERA_LOG(info, "loaded {} tensors", n); arguments are evaluated only when the level is on.
#define TESSERA_LOG(level, ...)                                                      \
  do {                                                                               \
    if (::tessera::log_enabled(::tessera::LogLevel::level))                          \
      ::tessera::log_message(::tessera::LogLevel::level, ::fmt::format(__VA_ARGS__), \
                             std::source_location::current());                       \
  } while (false)
