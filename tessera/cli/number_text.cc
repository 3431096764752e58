// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/number_text.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <iterator>

namespace tessera::cli {

std::string grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), ",");
  return text;
}

std::string size_text(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) bytes /= 1024, ++unit;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

Result<uint64_t> parse_size(std::string_view text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  static constexpr Unit kUnits[] = {
      {"", 1},         {"B", 1},      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
      {"TiB", 0x1p40}, {"K", 0x1p10}, {"M", 0x1p20},   {"G", 0x1p30},   {"T", 0x1p40},
      {"KB", 1e3},     {"MB", 1e6},   {"GB", 1e9},     {"TB", 1e12}};
  const std::string copy(text);
  char* end = nullptr;
  const double number = std::strtod(copy.c_str(), &end);
  std::string_view rest = text.substr(static_cast<size_t>(end - copy.c_str()));
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  for (const Unit& unit : kUnits) {
    const double bytes = number * unit.bytes;
    if (end != copy.c_str() && rest == unit.name && std::isfinite(bytes) && bytes >= 1 &&
        bytes < 0x1p62)
      return static_cast<uint64_t>(bytes);
  }
  return invalid_argument(fmt::format("\"{}\" is no size; write 64GiB, 500MB or bytes", text));
}

Result<int64_t> positive_option(const Arguments& arguments, std::string_view name,
                                int64_t fallback) {
  const double number = arguments.number(name, static_cast<double>(fallback));
  if (number >= 1 && number <= 0x1p53 && number == std::floor(number))
    return static_cast<int64_t>(number);
  return invalid_argument(
      fmt::format("--{} is {}; it has to be a whole number above 0", name, arguments.text(name)));
}

}  // namespace tessera::cli
