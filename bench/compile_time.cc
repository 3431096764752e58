// SPDX-License-Identifier: Apache-2.0
// What compiling the kernels of all operators takes for one level of the cpu chip, by stage, in CPU
// time of one thread: compile_time [arch] [dump-folder, "" for none] [part of a kernel's name]. The
// budget is a median of 150 ms.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "tessera/compiler/pipeline.h"
#include "tessera/ops/frame/operator_table.h"
#include "tessera/ops/frame/prepared.h"

namespace {

using namespace tessera;

struct Measured {
  std::string name;
  double milliseconds;
};

double at(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values.empty()
             ? 0
             : values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

std::vector<lang::Trace> all_traces(const runtime::Capabilities& capabilities) {
  std::vector<lang::Trace> all;
  std::set<std::string> seen;
  for (const ops::OperatorHeader& header : ops::operator_headers()) {
    const auto op = header.make();
    if (!op) continue;
    for (const ops::Case& c : op->cases()) {
      auto problem = ops::Problem::from_dims(*op->signature, c.dims, c.dtypes, c.attributes);
      if (!problem.ok()) continue;
      auto traces = ops::trace_plan(ops::make_plan(*op, *problem, capabilities));
      if (!traces.ok()) continue;
      for (lang::Trace& trace : *traces)
        if (seen.insert(trace.hash().hex()).second) all.push_back(std::move(trace));
    }
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string arch = argc > 1 ? argv[1] : "cpu:x86-64-v4";
  auto target = compiler::find_target(arch);
  if (!target.ok()) {
    fmt::print(stderr, "{}\n", target.error().to_string());
    return 1;
  }
  std::vector<Measured> kernels;
  std::map<std::string, std::vector<double>> stages;
  size_t bytes = 0;
  for (const lang::Trace& trace : all_traces((*target)->capabilities())) {
    if (argc > 3 && trace.name.find(argv[3]) == trace.name.npos) continue;
    compiler::StageTimer timer;
    compiler::CompileOptions options;
    options.stages = &timer;
    if (argc > 2 && *argv[2] != 0)
      options.dump_assembly =
          fmt::format("{}/{}-{}.s", argv[2], trace.name, trace.hash().hex().substr(0, 6));
    auto image = (*target)->compile(trace, options);
    double total = 0;
    if (!image.ok()) fmt::print(stderr, "{}\n", image.error().to_string());
    for (const auto& [stage, milliseconds] : timer.stages()) {
      stages[std::string(stage)].push_back(milliseconds);
      total += milliseconds;
    }
    if (image.ok()) bytes += image->code.size();
    kernels.push_back({trace.name, total});
  }
  std::ranges::sort(kernels, std::greater{}, &Measured::milliseconds);
  for (size_t i = 0; i < std::min<size_t>(kernels.size(), 15); ++i)
    fmt::print("{:8.1f} ms  {}\n", kernels[i].milliseconds, kernels[i].name);
  std::vector<double> totals;
  for (const Measured& kernel : kernels) totals.push_back(kernel.milliseconds);
  fmt::print(
      "{} kernels for {}: median {:.1f} ms, 90 % {:.1f} ms, largest {:.1f} ms, together {:.1f} s; "
      "{} bytes\n",
      totals.size(), arch, at(totals, 0.5), at(totals, 0.9), at(totals, 1), sum(totals) / 1e3,
      bytes);
  for (const auto& [stage, values] : stages)
    fmt::print("  {:<10} median {:6.1f} ms, 90 % {:6.1f} ms, together {:6.1f} s\n", stage,
               at(values, 0.5), at(values, 0.9), sum(values) / 1e3);
}
