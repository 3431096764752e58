// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/config_fields.h"

#include <fmt/format.h>

#include <cmath>

namespace tessera::model::deepseek_v4 {
namespace {

using Json = nlohmann::json;

/// A value for a message: short, and UTF-8 whatever it was.
std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  constexpr size_t kLongest = 60;
  if (text.size() > kLongest) text = text.substr(0, kLongest - 3) + "...";
  return text;
}

std::optional<int64_t> whole(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (!std::in_range<int64_t>(number)) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::abs(number) < 0x1p53 && number == std::floor(number))
      return static_cast<int64_t>(number);
  }
  return std::nullopt;
}

}  // namespace

const Json* ConfigFields::find(Names names) const {
  const Json* found = nullptr;
  std::string_view found_name;
  for (const std::string_view name : names) {
    const auto field = json_.find(name);
    if (field == json_.end() || field->is_null()) continue;
    if (found == nullptr) {
      found = &*field;
      found_name = name;
    } else if (*found != *field) {
      problem(
          fmt::format("{} is {}, but {} is {}", found_name, shown(*found), name, shown(*field)));
    }
  }
  return found;
}

void ConfigFields::missing(Names names) const {
  problem(fmt::format("{} is missing", *names.begin()));
}

int64_t ConfigFields::integer(Names names, Range range, std::optional<int64_t> fallback) const {
  const Json* value = find(names);
  if (value == nullptr) {
    if (!fallback) missing(names);
    return fallback.value_or(range.least);
  }
  const auto number = whole(*value);
  if (number && *number >= range.least && *number <= range.most) return *number;
  problem(fmt::format("{} is {}, not a whole number from {} to {}", *names.begin(), shown(*value),
                      range.least, range.most));
  return range.least;
}

double ConfigFields::number(Names names, double least, std::optional<double> fallback) const {
  const Json* value = find(names);
  if (value == nullptr) {
    if (!fallback) missing(names);
    return fallback.value_or(least);
  }
  if (value->is_number()) {
    const double number = value->get<double>();
    if (std::isfinite(number) && number >= least) return number;
  }
  problem(
      fmt::format("{} is {}, not a number of at least {}", *names.begin(), shown(*value), least));
  return least;
}

std::vector<int64_t> ConfigFields::integers(Names names, Range range) const {
  const Json* value = find(names);
  if (value == nullptr) return {};
  std::vector<int64_t> all;
  if (!value->is_array()) {
    problem(fmt::format("{} is {}, not a list", *names.begin(), shown(*value)));
    return all;
  }
  for (const Json& element : *value) {
    const auto number = whole(element);
    if (!number || *number < range.least || *number > range.most) {
      problem(fmt::format("{}[{}] is {}, not a whole number from {} to {}", *names.begin(),
                          all.size(), shown(element), range.least, range.most));
      return all;
    }
    all.push_back(*number);
  }
  return all;
}

std::vector<std::string> ConfigFields::texts(Names names) const {
  const Json* value = find(names);
  if (value == nullptr) return {};
  std::vector<std::string> all;
  if (!value->is_array()) {
    problem(fmt::format("{} is {}, not a list", *names.begin(), shown(*value)));
    return all;
  }
  for (const Json& element : *value) {
    if (!element.is_string()) {
      problem(fmt::format("{}[{}] is {}, not text", *names.begin(), all.size(), shown(element)));
      return all;
    }
    all.push_back(element.get<std::string>());
  }
  return all;
}

void ConfigFields::only(Names names, const Json& value) const {
  const Json* found = find(names);
  if (found != nullptr && *found != value)
    problem(
        fmt::format("{} is {}; only {} is supported", *names.begin(), shown(*found), shown(value)));
}

std::optional<ConfigFields> ConfigFields::object(Names names) const {
  const Json* found = find(names);
  if (found == nullptr) return std::nullopt;
  if (!found->is_object()) {
    problem(fmt::format("{} is {}, not an object", *names.begin(), shown(*found)));
    return std::nullopt;
  }
  return ConfigFields(*found, problems_, prefix_ + std::string(*names.begin()) + ".");
}

}  // namespace tessera::model::deepseek_v4
