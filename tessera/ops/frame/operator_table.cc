// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/operator_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>

#include "tessera/ops/frame/near_names.h"
#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

std::span<const Operator> all_operators() {
  static const std::vector<Operator> all = [] {
    std::vector<Operator> found;
    for (const OperatorHeader& header : operator_headers())
      if (std::optional<Operator> op = header.make()) found.push_back(*op);
    std::sort(found.begin(), found.end(), [](const Operator& a, const Operator& b) {
      return std::tie(a.signature->family, a.signature->name) <
             std::tie(b.signature->family, b.signature->name);
    });
    return found;
  }();
  return all;
}

Result<const Operator*> find_operator(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Operator& op : all_operators()) {
    if (op.signature->name == name) return &op;
    names.push_back(op.signature->name);
  }
  for (const OperatorHeader& header : operator_headers())
    if (header.path.ends_with(fmt::format("/{}.h", name)))
      return not_found(fmt::format("no operator \"{}\": {} defines no struct {}", name, header.path,
                                   header.struct_name));
  const auto near = near_names(name, names);
  return not_found(
      near.empty()
          ? fmt::format("no operator \"{}\"; `tessera ops list` shows all {}", name, names.size())
          : fmt::format("no operator \"{}\"; did you mean {}?", name, fmt::join(near, ", ")));
}

std::vector<const Operator*> match_operators(std::string_view pattern) {
  const std::string glob(pattern);
  std::vector<const Operator*> found;
  for (const Operator& op : all_operators()) {
    const std::string path = op.signature->family + "/" + op.signature->name;
    if (fnmatch(glob.c_str(), op.signature->name.c_str(), 0) == 0 ||
        fnmatch(glob.c_str(), path.c_str(), 0) == 0)
      found.push_back(&op);
  }
  return found;
}

}  // namespace tessera::ops
