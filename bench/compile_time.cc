// SPDX-License-Identifier: Apache-2.0
// How long the kernels of all operators take to compile for one level of the cpu chip, by stage, on
// one thread: compile_time [arch] [dump-folder] [part of a kernel's name]. The budget is a median
// of 150 ms.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
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
  for (const lang::Trace& trace : all_traces((*target)->capabilities())) {
    if (argc > 3 && trace.name.find(argv[3]) == trace.name.npos) continue;
    compiler::StageTimer timer;
    compiler::CompileOptions options;
    options.stages = &timer;
    if (argc > 2)
      options.dump_assembly =
          fmt::format("{}/{}-{}.s", argv[2], trace.name, trace.hash().hex().substr(0, 6));
    const auto start = std::chrono::steady_clock::now();
    auto image = (*target)->compile(trace, options);
    const double total =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (!image.ok()) fmt::print(stderr, "{}\n", image.error().to_string());
    kernels.push_back({trace.name, total});
    for (const auto& [stage, milliseconds] : timer.stages())
      stages[std::string(stage)].push_back(milliseconds);
  }
  std::ranges::sort(kernels, std::greater{}, &Measured::milliseconds);
  for (size_t i = 0; i < std::min<size_t>(kernels.size(), 15); ++i)
    fmt::print("{:8.1f} ms  {}\n", kernels[i].milliseconds, kernels[i].name);
  std::vector<double> totals;
  for (const Measured& kernel : kernels) totals.push_back(kernel.milliseconds);
  fmt::print("{} kernels for {}: median {:.1f} ms, 90 % {:.1f} ms, largest {:.1f} ms\n",
             totals.size(), arch, at(totals, 0.5), at(totals, 0.9), at(totals, 1));
  for (const auto& [stage, values] : stages)
    fmt::print("  {:<10} median {:6.1f} ms, 90 % {:6.1f} ms\n", stage, at(values, 0.5),
               at(values, 0.9));
}
