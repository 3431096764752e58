// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/session.h"
#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/prepared.h"

namespace tessera::cli {
namespace {

std::string_view access_text(ops::Access access) {
  return access == ops::Access::kRead ? "in" : access == ops::Access::kWrite ? "out" : "inout";
}

std::string dtype_list(const ops::TensorSpec& spec) {
  std::vector<std::string_view> names;
  for (DType dtype : spec.dtypes) names.push_back(name(dtype));
  return fmt::format("{}", fmt::join(names, " | "));
}

nlohmann::json to_json(const ops::Operator& op) {
  const ops::Signature& s = *op.signature;
  nlohmann::json json = {{"name", s.name},
                         {"family", s.family},
                         {"rows", s.rows},
                         {"summary", s.summary},
                         {"formula", s.formula},
                         {"source", s.source},
                         {"dynamic_dims", s.dynamic_dims}};
  json["tensors"] = nlohmann::json::array();
  for (const ops::TensorSpec& t : s.tensors)
    json["tensors"].push_back({{"name", t.name},
                               {"access", access_text(t.access)},
                               {"dims", t.dims},
                               {"dtypes", dtype_list(t)},
                               {"constant", t.constant},
                               {"optional", t.optional}});
  for (const ops::AttributeSpec& a : s.attributes) json["attributes"][a.name] = a.default_value;
  for (const ops::Case& c : op.cases()) json["cases"].push_back(ops::case_text(op, c));
  return json;
}

void print(const ops::Operator& op) {
  const ops::Signature& s = *op.signature;
  fmt::print("{} ({}): {}\n\n  {}\n\n", s.name, s.family, s.summary, s.formula);
  for (const ops::TensorSpec& t : s.tensors)
    fmt::print("  {:<6} {:<14} [{}] {}{}{}\n", access_text(t.access), t.name, t.dims, dtype_list(t),
               t.constant ? ", weight" : "", t.optional ? ", optional" : "");
  for (const ops::AttributeSpec& a : s.attributes)
    fmt::print("  attr   {:<14} default {}\n", a.name, a.default_value);
  fmt::print("\n  changes from call to call: {}\n  source: {}\n  checklist rows: {}\n\ncases:\n",
             fmt::join(s.dynamic_dims, ", "), s.source, s.rows);
  for (const ops::Case& c : op.cases())
    fmt::print("  {}{}\n", ops::case_text(op, c), c.test ? "" : " (benchmark only)");
}

Result<int> print_traces(const Arguments& arguments, const ops::Operator& op) {
  TESSERA_ASSIGN(const auto device,
                 as_usage(runtime::open_device(arguments.text("chip", kDefaultChip))));
  const std::string filter = arguments.text("case");
  for (const ops::Case& c : op.cases()) {
    if (ops::case_text(op, c).find(filter) == std::string::npos) continue;
    TESSERA_ASSIGN(const auto problem, ops::problem_of(op, c));
    const ops::Plan plan = ops::make_plan(op, problem, device->info().capabilities);
    TESSERA_ASSIGN(const auto traces, ops::trace_plan(plan));
    fmt::print("# {} on {}: {} kernels, {} of workspace\n", ops::case_text(op, c),
               device->info().arch, plan.calls.size(),
               size_text(static_cast<double>(plan.workspace_bytes)));
    for (size_t i = 0; i < traces.size(); ++i)
      fmt::print("# grid {} x {} x {}, {}\n{}\n", plan.calls[i].grid[0], plan.calls[i].grid[1],
                 plan.calls[i].grid[2], traces[i].hash().hex(), traces[i].to_string());
    return 0;
  }
  return invalid_argument(fmt::format("no case of {} contains \"{}\"", op.signature->name, filter));
}

Result<int> run(const Arguments& arguments, const Program&) {
  TESSERA_ASSIGN(const ops::Operator* op, as_usage(ops::find_operator(arguments.text("NAME"))));
  if (arguments.flag("trace")) return print_traces(arguments, *op);
  if (arguments.json())
    fmt::print("{}\n", to_json(*op).dump(1));
  else
    print(*op);
  return 0;
}

}  // namespace

CommandSpec ops_show_command() {
  return {.path = "ops show",
          .summary = "Explain an operator: formula, tensors, cases, kernels",
          .details = "Example: tessera ops show rms_norm --trace --case T=3",
          .positionals = {{"NAME", "Name of the operator"}},
          .options = {{"--trace", OptionSpec::Kind::kFlag, "", "Print the kernels of one case"},
                      {"--case", OptionSpec::Kind::kText, "TEXT",
                       "With --trace: the first case that contains this"},
                      kChipOption},
          .run = run};
}

}  // namespace tessera::cli
