// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/result.h"

#include <fmt/core.h>

#include <array>
#include <ranges>

#include "tessera/base/check.h"

namespace tessera {

std::string_view name(ErrorCode code) {
  static constexpr std::array<std::string_view, 10> kNames = {
      "invalid_argument", "not_found",   "unsupported", "out_of_memory", "corrupt", "io",
      "device_lost",      "unavailable", "deadline",    "internal"};
  const auto index = static_cast<size_t>(code);
  return index < kNames.size() ? kNames[index] : "unknown";
}

std::string Error::to_string() const {
  std::string text;
  for (const std::string& step : context | std::views::reverse) text += step + ": ";
  text += fmt::format("{}: {}", name(code), message);
  if (where.line() != 0) text += fmt::format(" ({}:{})", where.file_name(), where.line());
  return text;
}

Error make_error(ErrorCode code, std::string message, std::source_location where) {
  return Error{code, std::move(message), where, {}};
}

Error invalid_argument(std::string message, std::source_location where) {
  return make_error(ErrorCode::invalid_argument, std::move(message), where);
}
Error not_found(std::string message, std::source_location where) {
  return make_error(ErrorCode::not_found, std::move(message), where);
}
Error unsupported(std::string message, std::source_location where) {
  return make_error(ErrorCode::unsupported, std::move(message), where);
}
Error out_of_memory(std::string message, std::source_location where) {
  return make_error(ErrorCode::out_of_memory, std::move(message), where);
}
Error corrupt(std::string message, std::source_location where) {
  return make_error(ErrorCode::corrupt, std::move(message), where);
}
Error io_error(std::string message, std::source_location where) {
  return make_error(ErrorCode::io, std::move(message), where);
}
Error internal_error(std::string message, std::source_location where) {
  return make_error(ErrorCode::internal, std::move(message), where);
}

namespace detail {
void bad_result_access(const Error* error) {
  if (error == nullptr) TESSERA_UNREACHABLE("error() of a Result that holds a value");
  TESSERA_UNREACHABLE("value() of a failed Result: {}", error->to_string());
}
}  // namespace detail

}  // namespace tessera
