// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "tessera/base/cpu_topology.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/ops/frame/conformance.h"
#include "tessera/ops/frame/crash_note.h"
#include "tessera/ops/frame/same_bits.h"

namespace tessera::cli {
namespace {

using Status = ops::OperatorReport::Status;

constexpr int kSkipped = 77;  // what CTest takes for "skipped"

std::string_view status_text(Status status) {
  switch (status) {
    case Status::kPassed: return "ok";
    case Status::kFailed: return "FAILED";
    case Status::kKnownFailure: return "known";
    case Status::kStale: return "STALE";
    case Status::kNotRun: return "not run";
    case Status::kNoCases: return "no cases";
  }
  return "";
}

void print_text(const ops::OperatorReport& report, bool verbose, bool bits) {
  const ops::Signature& s = *report.op->signature;
  fmt::print("{:<8} {:<40} {:>3} cases{}{}\n", status_text(report.status), s.family + "/" + s.name,
             report.cases.size(),
             bits ? "" : fmt::format(", worst error {:.2f} of what is allowed", report.worst()),
             report.reason.empty() ? "" : "; " + report.reason);
  if (report.status == Status::kStale)
    fmt::print("         all cases pass: remove Op.{} from known_failures.inc\n", s.name);
  for (const ops::CaseReport& c : report.cases)
    if (verbose || (!c.wrong.empty() && report.status == Status::kFailed))
      fmt::print("         {}: {}\n", c.text,
                 c.wrong.empty() ? fmt::format("ok, {:.3f}", c.worst) : c.wrong);
}

void print_json(const ops::OperatorReport& report, std::string_view chip) {
  nlohmann::json json = {{"operator", report.op->signature->name},
                         {"chip", chip},
                         {"status", status_text(report.status)},
                         {"cases", nlohmann::json::array()}};
  if (!report.reason.empty()) json["reason"] = report.reason;
  for (const ops::CaseReport& c : report.cases) {
    nlohmann::json entry = {{"case", c.text}, {"worst", c.worst}};
    if (!c.wrong.empty()) entry["wrong"] = c.wrong;
    json["cases"].push_back(std::move(entry));
  }
  fmt::print("{}\n", json.dump());
}

/// Known failures of operators that do not exist.
std::vector<std::string_view> lost_entries(std::span<const runtime::KnownFailure> entries) {
  std::vector<std::string_view> lost;
  for (const runtime::KnownFailure& entry : entries) {
    if (!entry.test.starts_with("Op.")) continue;
    if (ops::match_operators(entry.test.substr(3)).empty()) lost.push_back(entry.test);
  }
  return lost;
}

/// Filters left nothing to run.
Error no_case(const std::vector<const ops::Operator*>& operators, const Arguments& arguments) {
  std::vector<std::string_view> names;
  for (const ops::Operator* op : operators)
    for (const ops::TensorSpec& tensor : op->signature->tensors)
      for (DType dtype : tensor.dtypes) names.push_back(name(dtype));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string list;
  for (std::string_view n : names) list += fmt::format("{}{}", list.empty() ? "" : ", ", n);
  if (!arguments.has("dtype")) return invalid_argument("no case is left; check --op and --case");
  return invalid_argument(
      fmt::format("no case of \"{}\" has a tensor of dtype {}; these operators use: {}",
                  arguments.text("op", "*"), arguments.text("dtype"), list));
}

Result<std::vector<ops::OperatorReport>> test(const Arguments& arguments, const Program& program,
                                              const Session& session,
                                              std::span<const ops::Operator* const> operators,
                                              const ops::ConformanceOptions& options) {
  if (!arguments.flag("bits")) return ops::run_conformance(*session.library, operators, options);
  TESSERA_ASSIGN(const Session alone,
                 open_session(arguments, program, {.threads = 1, .guard_end = true}));
  return ops::check_same_bits(*alone.library, *session.library, operators, options);
}

Result<int> run(const Arguments& arguments, const Program& program) {
  const std::string chip = arguments.text("chip", kDefaultChip);
  TESSERA_ASSIGN(const auto operators, chosen_operators(arguments));
  ops::ConformanceOptions options;
  TESSERA_ASSIGN(options.dtype, chosen_dtype(arguments));
  options.case_filter = arguments.text("case");
  options.threads = arguments.integer("threads", 0);
  options.deterministic = arguments.flag("deterministic");
  options.known_failures = known_failures(chip);
  // Bits are compared with at least two threads, even on a machine with one core.
  const int several = std::max(2, arguments.integer("threads", CpuTopology::get().usable_cores()));
  auto session = open_session(arguments, program,
                              {.threads = arguments.flag("bits") ? several : 0, .guard_end = true});
  if (!session.ok()) {
    if (!arguments.flag("skip-missing") || arguments.has("pack")) return std::move(session).error();
    fmt::print("skipped: {}\n", session.error().message);
    return kSkipped;
  }
  ProgressBar bar;
  options.progress = [&](std::string_view what, size_t done, size_t total) {
    bar.update(what, done, total);
  };
  ops::print_notes_on_crash();
  const auto start = std::chrono::steady_clock::now();
  TESSERA_ASSIGN(const auto reports, test(arguments, program, *session, operators, options));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  bar.clear();

  size_t cases = 0, bad = 0;
  for (const ops::OperatorReport& report : reports) {
    cases += report.cases.size();
    bad += report.good() ? 0 : 1;
  }
  if (!arguments.has("op"))
    for (std::string_view entry : lost_entries(options.known_failures)) {
      ++bad;
      fmt::print(stderr, "STALE    {} in known_failures.inc names no operator\n", entry);
    }
  if (cases == 0 && (options.dtype || !options.case_filter.empty()))
    return no_case(operators, arguments);
  for (const ops::OperatorReport& report : reports) {
    if (report.status == Status::kNoCases && (options.dtype || !options.case_filter.empty()))
      continue;
    arguments.json() ? print_json(report, chip)
                     : print_text(report, arguments.flag("verbose"), arguments.flag("bits"));
  }
  if (!arguments.json()) {
    const kernels::LibraryStats& stats = session->library->stats();
    fmt::print(
        "{}: {} operators, {} cases, {} bad; {} kernels compiled, {} from packs, {} from the "
        "cache, {} compiled by the driver; {:.1f} s\n",
        session->device->info().arch, reports.size(), cases, bad, stats.compiled.load(),
        stats.from_pack.load(), stats.from_cache.load(), session->device->driver_compilations(),
        elapsed.count());
  }
  return bad == 0 ? 0 : 1;
}

}  // namespace

CommandSpec ops_test_command() {
  using Kind = OptionSpec::Kind;
  return {.path = "ops test",
          .summary = "Compare operators on a chip with their references",
          .details =
              "Example: tessera ops test --chip cpu:avx2 --op 'norm/*'\n"
              "Exit code 1 when an operator fails or a known failure is stale.",
          .positionals = {},
          .options =
              {kChipOption,
               kOpOption,
               {"--dtype", Kind::kText, "DTYPE", "Only cases with a tensor of this type"},
               {"--case", Kind::kText, "TEXT", "Only cases whose description contains this"},
               kPackOption,
               kTuningOption,
               kThreadsOption,
               {"--deterministic", Kind::kFlag, "", "Sum every row alike, whatever is beside it"},
               {"--bits", Kind::kFlag, "",
                "Compare bits instead: one thread with several; with --deterministic plans a row "
                "alone with 64"},
               {"-v,--verbose", Kind::kFlag, "", "Print every case"},
               {"--skip-missing", Kind::kFlag, "", "Exit with 77 when the device is not here"}},
          .run = run};
}

}  // namespace tessera::cli
