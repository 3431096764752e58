// SPDX-License-Identifier: Apache-2.0
#include "tessera/compiler/target.h"

#include <algorithm>

namespace tessera::compiler {

std::optional<std::vector<std::string>> features_of(std::string_view text, std::string_view arch) {
  if (!text.starts_with(arch)) return std::nullopt;
  text.remove_prefix(arch.size());
  if (!text.empty() && text.front() != '+') return std::nullopt;
  std::vector<std::string> features;
  while (!text.empty()) {
    text.remove_prefix(1);
    const size_t end = std::min(text.find('+'), text.size());
    features.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return features;
}

}  // namespace tessera::compiler
