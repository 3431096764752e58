// SPDX-License-Identifier: Apache-2.0
// TESSERA_CHECK: our own bugs. Prints the condition, the message and the place, then aborts. No
// user input, file or request may reach a failing check; those return an Error (result.h).
#pragma once

#include <fmt/core.h>

#include <source_location>
#include <string>
#include <string_view>

namespace tessera::detail {
[[noreturn]] void check_failed(std::string_view condition, std::source_location where,
                               const std::string& message = {});
}  // namespace tessera::detail

/// TESSERA_CHECK(i < n, "row {} of {}", i, n); the message may be left out. Active in every build.
#define TESSERA_CHECK(condition, ...)                                                            \
  do {                                                                                           \
    if (!(condition)) [[unlikely]]                                                               \
      ::tessera::detail::check_failed(#condition, std::source_location::current() __VA_OPT__(, ) \
                                                      __VA_OPT__(::fmt::format(__VA_ARGS__)));   \
  } while (false)

/// For a place that cannot be reached.
#define TESSERA_UNREACHABLE(...)                                                                \
  ::tessera::detail::check_failed("unreachable", std::source_location::current() __VA_OPT__(, ) \
                                                     __VA_OPT__(::fmt::format(__VA_ARGS__)))
