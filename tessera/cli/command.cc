// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/command.h"

#include <cstdlib>
#include <utility>

namespace tessera::cli {

std::string Arguments::text(std::string_view name, std::string_view fallback) const {
  const auto found = values_.find(name);
  return found == values_.end() || found->second.empty() ? std::string(fallback)
                                                         : found->second.back();
}

double Arguments::number(std::string_view name, double fallback) const {
  return has(name) ? std::strtod(text(name).c_str(), nullptr) : fallback;  // checked by the parser
}

int Arguments::integer(std::string_view name, int fallback) const {
  return static_cast<int>(number(name, fallback));
}

std::vector<std::string> Arguments::list(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

void Arguments::add(std::string name, std::vector<std::string> values) {
  values_[std::move(name)] = std::move(values);
}

}  // namespace tessera::cli
