// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/pack_builder.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/ceilings.h"
#include "tessera/ops/frame/crash_note.h"
#include "tessera/ops/frame/specialisation.h"
#include "tessera/ops/frame/tuner.h"

namespace tessera::cli {
namespace {

struct Use {
  const ops::Operator* op;
  ops::Case test_case;
  ops::Problem problem;
};

ops::TuneOptions tune_options(const Arguments& arguments) {
  return {.min_seconds = arguments.number("min-time", 0.1),
          .deterministic = arguments.flag("deterministic")};
}

/// Benchmark cases, one for each specialisation: the first, which is the smallest.
Result<std::vector<Use>> chosen_uses(const Arguments& arguments) {
  TESSERA_ASSIGN(const auto operators, chosen_operators(arguments));
  const ops::PlanOptions plan{.deterministic = arguments.flag("deterministic")};
  std::vector<Use> uses;
  std::set<std::string> known;
  for (const ops::Operator* op : operators)
    for (ops::Case& c : bench_cases(*op, arguments.text("case"))) {
      TESSERA_ASSIGN(ops::Problem problem, ops::problem_of(*op, c));
      if (known.insert(ops::specialisation(*op, problem, plan)).second)
        uses.push_back({op, std::move(c), std::move(problem)});
    }
  if (uses.empty()) return invalid_argument("no benchmark case is left; check --op and --case");
  return uses;
}

/// A pack with the kernels of every candidate, for a machine without a compiler.
Result<int> emit(const Arguments& arguments, const Program& program, const std::vector<Use>& uses) {
  if (program.compiler == nullptr)
    return invalid_argument(fmt::format(
        "{} has no compiler; emit candidates with the program `tessera`", program.name));
  TESSERA_ASSIGN(const PackTarget target,
                 PackTarget::find(arguments.text("chip", kDefaultChip), program, {}));
  kernels::PackWriter pack{std::string(program.compiler->version())};
  PackBuilder builder(*program.compiler, target, pack);
  for (const Use& use : uses) {
    TESSERA_ASSIGN(auto traces, ops::candidate_traces(*use.op, use.problem, target.capabilities,
                                                      tune_options(arguments)));
    for (lang::Trace& trace : traces) builder.add(std::move(trace));
  }
  builder.compile(arguments.integer("threads", 0));
  const size_t failed = builder.report();  // candidates may fail
  const std::string file = arguments.text("emit");
  TESSERA_ASSIGN(const uint64_t bytes, pack.write(file));
  if (arguments.json())
    fmt::print("{}\n", nlohmann::json({{"file", file},
                                       {"arch", target.arch},
                                       {"uses", uses.size()},
                                       {"kernels", pack.size()},
                                       {"failed", failed},
                                       {"bytes", bytes}})
                           .dump());
  else
    fmt::print("{}: {} kernels for {} uses on {}, {}; measure with `tune --measure {}`\n", file,
               pack.size(), uses.size(), target.arch, size_text(static_cast<double>(bytes)), file);
  return 0;
}

void print(const ops::TuneReport& report, bool json) {
  const ops::Winner& winner = report.winner;
  if (json) {
    fmt::print("{}\n", nlohmann::json({{"arch", winner.arch},
                                       {"use", winner.use},
                                       {"hints", winner.hints},
                                       {"us", winner.seconds * 1e6},
                                       {"untuned_us", winner.untuned_seconds * 1e6},
                                       {"timed", report.timed},
                                       {"idle", report.idle},
                                       {"wrong", report.wrong},
                                       {"failed", report.failed}})
                           .dump());
  } else {
    std::string hints;
    for (const auto& [name, value] : winner.hints) hints += fmt::format(" {}={}", name, value);
    fmt::print("{:>10.1f} -> {:>10.1f} us  {:<90}{}\n", winner.untuned_seconds * 1e6,
               winner.seconds * 1e6, winner.use, hints.empty() ? " as it is" : hints);
  }
  if (report.wrong > 0)
    fmt::print(stderr, "{}: {} candidates gave wrong results, the first: {}\n", winner.use,
               report.wrong, report.mistake);
  std::fflush(stdout);
}

/// The winners of before, where there are any.
Result<ops::TuningFile> existing(const std::string& file) {
  if (!std::filesystem::exists(file)) return ops::TuningFile();
  return ops::TuningFile::open(file);
}

Result<int> run(const Arguments& arguments, const Program& program) {
  if (arguments.has("emit") && arguments.has("measure"))
    return invalid_argument("--emit makes candidates and --measure times them: give one of them");
  TESSERA_ASSIGN(const auto uses, chosen_uses(arguments));
  if (arguments.has("emit")) return emit(arguments, program, uses);
  const std::string file = arguments.text("output", "tessera.tuning");
  TESSERA_ASSIGN(ops::TuningFile winners, existing(file));
  Arguments with_pack = arguments;
  Program measuring = program;
  if (arguments.has("measure")) {
    with_pack.add("pack", {arguments.text("measure")});
    measuring.compiler = nullptr;
  }
  TESSERA_ASSIGN(const Session session, open_session(with_pack, measuring));
  ops::print_notes_on_crash();
  ProgressBar bar;
  size_t failed = 0, wrong = 0;
  for (size_t i = 0; i < uses.size(); ++i) {
    const std::string text = ops::case_text(*uses[i].op, uses[i].test_case);
    bar.update(uses[i].op->signature->name, i, uses.size());
    const ops::CrashNote note("tuning", uses[i].op->signature->name + " " + text);
    const auto report =
        ops::tune(*session.library, *uses[i].op, uses[i].test_case, tune_options(arguments));
    bar.clear();
    if (!report.ok()) {
      ++failed;
      fmt::print(stderr, "{} {}: {}\n", uses[i].op->signature->name, text,
                 report.error().to_string());
      continue;
    }
    wrong += static_cast<size_t>(report->wrong);
    print(*report, arguments.json());
    winners.set(report->winner);
    TESSERA_TRY(winners.write(file));  // after each: an hour's work survives the next mistake
  }
  if (!arguments.json())
    fmt::print("{}: {} winners; use it with --tuning, or put it into a pack with `pack --tuning`\n",
               file, winners.winners().size());
  return failed + wrong == 0 ? 0 : 1;
}

}  // namespace

CommandSpec tune_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "tune",
      .summary = "Find faster tile sizes for operators on a chip",
      .details =
          "Every number that steers sizes is tried twice as large and half, for each benchmark "
          "case. A\n"
          "candidate counts only with right results; the winner must beat the chip's own "
          "numbers in "
          "turn.\n"
          "A machine without a compiler measures what another one compiled:\n"
          "         tessera tune --chip cpu:x86-64-v4+avx512bf16 --emit candidates.pack\n"
          "         tessera-rt tune --measure candidates.pack -o winners.tuning\n"
          "         tessera pack --model tiny --tuning winners.tuning -o tiny.pack",
      .positionals = {},
      .options =
          {kChipOption,
           kOpOption,
           {"--case", Kind::kText, "TEXT", "Only cases whose description contains this"},
           {"-o,--output", Kind::kText, "FILE",
            "File of winners, added to what it holds (default tessera.tuning)"},
           {"--emit", Kind::kText, "PACK", "Compile the candidates into a pack instead"},
           {"--measure", Kind::kText, "PACK", "Time the candidates of such a pack, and no others"},
           kThreadsOption,
           {"--deterministic", Kind::kFlag, "", "Sum every row alike, whatever is beside it"},
           {"--min-time", Kind::kNumber, "S", "Seconds of timed runs a candidate (default 0.1)"}},
      .run = run};
}

}  // namespace tessera::cli
