// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/session.h"
#include "tessera/ops/frame/operator_table.h"

namespace tessera::cli {
namespace {

Result<int> run(const Arguments& arguments, const Program&) {
  TESSERA_ASSIGN(const auto operators, chosen_operators(arguments));
  if (arguments.json()) {
    auto all = nlohmann::json::array();
    for (const ops::Operator* op : operators) {
      const ops::Signature& s = *op->signature;
      all.push_back(
          {{"name", s.name}, {"family", s.family}, {"rows", s.rows}, {"summary", s.summary}});
    }
    fmt::print("{}\n", all.dump(1));
    return 0;
  }
  std::string_view family;
  for (const ops::Operator* op : operators) {
    const ops::Signature& s = *op->signature;
    if (s.family != family) fmt::print("{}{}\n", family.empty() ? "" : "\n", s.family);
    family = s.family;
    fmt::print("  {:<28} {}\n", s.name, s.summary);
  }
  fmt::print("\n{} operators. `tessera ops show NAME` explains one.\n", operators.size());
  return 0;
}

}  // namespace

CommandSpec ops_list_command() {
  return {.path = "ops list",
          .summary = "List the operators",
          .details = "",
          .positionals = {},
          .options = {kOpOption},
          .run = run};
}

}  // namespace tessera::cli
