// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/extent.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace tessera::ops {
namespace {

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

bool parse_number(std::string_view& rest, int64_t& value) {
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc{}) return false;
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  return true;
}

Result<Extent> parse_extent(std::string_view text) {
  Extent extent;
  extent.text = text;
  std::string_view rest = text;
  const auto bad = [&] {
    return invalid_argument(fmt::format(
        "extent \"{}\" is neither a number nor a name with steps such as T, T*8, K/128 or B+1",
        text));
  };
  if (rest.empty()) return bad();
  if (std::isdigit(static_cast<unsigned char>(rest[0]))) {
    if (!parse_number(rest, extent.number) || !rest.empty()) return bad();
    return extent;
  }
  const size_t length =
      static_cast<size_t>(std::find_if_not(rest.begin(), rest.end(), is_name) - rest.begin());
  if (length == 0) return bad();
  extent.name = rest.substr(0, length);
  rest.remove_prefix(length);
  while (!rest.empty()) {
    const char op = rest[0];
    int64_t value = 0;
    rest.remove_prefix(1);
    if (std::string_view("*/+-").find(op) == std::string_view::npos || !parse_number(rest, value))
      return bad();
    if (value < 0 || (op == '/' && value == 0)) return bad();
    extent.steps.push_back({op, value});
  }
  return extent;
}

}  // namespace

int64_t Extent::evaluate(int64_t value) const {
  if (name.empty()) return number;
  for (const Step& step : steps) {
    switch (step.op) {
      case '*': value *= step.value; break;
      case '/': value = (value + step.value - 1) / step.value; break;
      case '+': value += step.value; break;
      default: value = std::max<int64_t>(value - step.value, 0);
    }
  }
  return value;
}

Result<std::vector<Extent>> parse_extents(std::string_view dims) {
  std::string text(dims);
  std::erase(text, ' ');
  std::vector<Extent> extents;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    TESSERA_ASSIGN(Extent extent, parse_extent(rest.substr(0, comma)));
    extents.push_back(std::move(extent));
    if (comma == rest.npos) break;
    rest.remove_prefix(comma + 1);
    if (rest.empty()) return invalid_argument(fmt::format("extents \"{}\" end in a comma", dims));
  }
  return extents;
}

}  // namespace tessera::ops
