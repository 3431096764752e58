// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/ops/frame/bench.h"
#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/crash_note.h"
#include "tessera/ops/frame/prepared.h"

namespace tessera::cli {
namespace {

struct Use {
  const ops::Operator* op;
  ops::Case test_case;
};

/// Fetches all kernels in parallel; a mistake comes up again when its case is timed.
void compile(const std::vector<Use>& uses, kernels::KernelLibrary& library,
             const ops::PlanOptions& plan) {
  std::vector<lang::Trace> traces = ops::ceiling_traces(library.device().info().capabilities);
  for (const Use& use : uses) {
    const auto problem = ops::problem_of(*use.op, use.test_case);
    if (!problem.ok()) continue;
    auto traced = ops::trace_plan(
        ops::make_plan(*use.op, *problem, library.device().info().capabilities, plan));
    if (traced.ok()) std::move(traced->begin(), traced->end(), std::back_inserter(traces));
  }
  (void)library.get_all(traces);
}

nlohmann::json to_json(const ops::Ceilings& c, const runtime::DeviceInfo& device) {
  return {{"chip", device.chip},
          {"arch", device.arch},
          {"device", device.name},
          {"read_gbps", c.read_rate / 1e9},
          {"copy_gbps", c.copy_rate / 1e9},
          {"f32_tflops", c.f32_rate / 1e12},
          {"bf16_tflops", c.bf16_rate / 1e12},
          {"i8_tops", c.i8_rate / 1e12}};
}

void print(const Use& use, const ops::BenchResult& result, const runtime::DeviceInfo& device,
           bool json) {
  const double gbps = result.bytes_per_second() / 1e9, tflops = result.flops_per_second() / 1e12;
  if (json) {
    const nlohmann::json line = {{"operator", use.op->signature->name},
                                 {"case", result.text},
                                 {"arch", device.arch},
                                 {"us", result.seconds * 1e6},
                                 {"fastest_us", result.fastest * 1e6},
                                 {"uses", result.uses},
                                 {"gbps", gbps},
                                 {"tflops", tflops},
                                 {"ceiling", result.ceiling},
                                 {"share", result.share}};
    fmt::print("{}\n", line.dump());
  } else {
    const std::string share =
        result.ceiling.empty() ? ""
                               : fmt::format("{:5.1f}% of {}", 100 * result.share, result.ceiling);
    fmt::print("{:<24} {:>11.1f} us {:>8.1f} GB/s {:>8.3f} TFLOP/s  {:<18} {}\n",
               use.op->signature->name, result.seconds * 1e6, gbps, tflops, share, result.text);
  }
  std::fflush(stdout);
}

Result<int> run(const Arguments& arguments, const Program& program) {
  TESSERA_ASSIGN(const auto operators, chosen_operators(arguments));
  std::vector<Use> uses;
  for (const ops::Operator* op : operators)
    for (ops::Case& c : bench_cases(*op, arguments.text("case")))
      uses.push_back({op, std::move(c)});
  if (uses.empty()) return invalid_argument("no benchmark case is left; check --op and --case");
  TESSERA_ASSIGN(const Session session, open_session(arguments, program));
  const runtime::DeviceInfo& device = session.device->info();
  ops::print_notes_on_crash();
  const bool deterministic = arguments.flag("deterministic");
  compile(uses, *session.library, {.deterministic = deterministic});
  TESSERA_ASSIGN(const ops::Ceilings ceilings, ops::measure_ceilings(*session.library));
  if (arguments.json())
    fmt::print("{}\n", to_json(ceilings, device).dump());
  else
    fmt::print(
        "{} ({}): read {:.1f} GB/s, copy {:.1f} GB/s, f32 {:.3f}, bf16 {:.3f}, i8 {:.3f} TFLOP/s\n",
        device.arch, device.name, ceilings.read_rate / 1e9, ceilings.copy_rate / 1e9,
        ceilings.f32_rate / 1e12, ceilings.bf16_rate / 1e12, ceilings.i8_rate / 1e12);
  const ops::BenchOptions options{.min_seconds = arguments.number("min-time", 0.3),
                                  .deterministic = deterministic};
  ProgressBar bar;
  int failed = 0;
  for (size_t i = 0; i < uses.size(); ++i) {
    bar.update(uses[i].op->signature->name, i, uses.size());
    const ops::CrashNote note("timing", uses[i].op->signature->name + " " +
                                            ops::case_text(*uses[i].op, uses[i].test_case));
    const auto result =
        ops::run_bench(*session.library, *uses[i].op, uses[i].test_case, ceilings, options);
    bar.clear();
    if (result.ok()) {
      print(uses[i], *result, device, arguments.json());
    } else {
      ++failed;
      fmt::print(stderr, "{} {}: {}\n", uses[i].op->signature->name,
                 ops::case_text(*uses[i].op, uses[i].test_case), result.error().to_string());
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

CommandSpec ops_bench_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "ops bench",
      .summary = "Time operators on a chip and compare with its measured ceilings",
      .details =
          "A memory-bound case is a share of the read rate where it reads more than four times "
          "what it\n"
          "writes, else of the copy rate; a compute-bound one of the measured arithmetic rate.\n"
          "Uses rotate over at least 512 MB of tensors and replay a graph, as a model's steps do.\n"
          "With --json: one line for the device, then one line a case.",
      .positionals = {},
      .options = {kChipOption,
                  kOpOption,
                  {"--case", Kind::kText, "TEXT", "Only cases whose description contains this"},
                  kThreadsOption,
                  kPackOption,
                  kTuningOption,
                  {"--deterministic", Kind::kFlag, "",
                   "Sum every row alike, whatever is beside it"},
                  {"--min-time", Kind::kNumber, "S", "Seconds of timed runs a case (default 0.3)"}},
      .run = run};
}

}  // namespace tessera::cli
