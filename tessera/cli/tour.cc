// SPDX-License-Identifier: Apache-2.0
// A minute's look at what works here: the chips found, operators tested on them and timed, and a
// small model asked.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/loaded_model.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/ops/frame/bench.h"
#include "tessera/ops/frame/conformance.h"

namespace tessera::cli {
namespace {

constexpr size_t kTested = 8;  // operators on each chip
constexpr size_t kTimed = 5;   // operators on the default chip

/// The first operator of each family, then the second ones, until there are `count`.
std::vector<const ops::Operator*> sample(size_t count) {
  std::map<std::string, std::vector<const ops::Operator*>> families;
  for (const ops::Operator& op : ops::all_operators())
    families[op.signature->family].push_back(&op);
  std::vector<const ops::Operator*> chosen;
  for (size_t rank = 0; chosen.size() < std::min(count, ops::all_operators().size()); ++rank)
    for (const auto& [family, members] : families)
      if (rank < members.size() && chosen.size() < count) chosen.push_back(members[rank]);
  return chosen;
}

Result<size_t> test_chip(std::string_view chip, const Program& program) {
  Arguments arguments;
  arguments.add("chip", {std::string(chip)});
  TESSERA_ASSIGN(const Session session, open_session(arguments, program, {.guard_end = true}));
  ProgressBar bar;
  ops::ConformanceOptions options;
  options.known_failures = known_failures(chip);
  options.progress = [&](std::string_view what, size_t done, size_t total) {
    bar.update(what, done, total);
  };
  const auto reports = ops::run_conformance(*session.library, sample(kTested), options);
  bar.clear();
  size_t passed = 0, bad = 0, cases = 0;
  for (const ops::OperatorReport& report : reports) {
    passed += report.status == ops::OperatorReport::Status::kPassed ? 1 : 0;
    bad += report.good() ? 0 : 1;
    cases += report.cases.size();
  }
  const runtime::DeviceInfo& info = session.device->info();
  fmt::print("  {:<8} {} ({}): {} of {} operators equal their references in {} cases\n", info.chip,
             info.name, info.arch, passed, reports.size(), cases);
  for (const ops::OperatorReport& report : reports)
    for (const ops::CaseReport& c : report.cases)
      if (!report.good() && !c.wrong.empty()) {
        fmt::print("           {} {}: {}\n", report.op->signature->name, c.text, c.wrong);
        break;
      }
  std::fflush(stdout);
  return bad;
}

Result<void> time_operators(const Program& program) {
  TESSERA_ASSIGN(const Session session, open_session({}, program));
  TESSERA_ASSIGN(const ops::Ceilings ceilings, ops::measure_ceilings(*session.library));
  fmt::print("\nSpeed on {}: memory reads {:.1f} GB/s, copies {:.1f} GB/s\n",
             session.device->info().arch, ceilings.read_rate / 1e9, ceilings.copy_rate / 1e9);
  size_t timed = 0;
  for (const ops::Operator* op : sample(ops::all_operators().size())) {
    const auto cases = bench_cases(*op, "");
    if (cases.empty() || timed == kTimed) continue;
    const auto result =
        ops::run_bench(*session.library, *op, cases[0], ceilings, {.min_seconds = 0.1});
    if (!result.ok()) continue;  // reported by the tests above or by `ops test`
    ++timed;
    fmt::print("  {:<24} {:>9.1f} us {:>7.1f} GB/s{}  {}\n", op->signature->name,
               result->seconds * 1e6, result->bytes_per_second() / 1e9,
               result->ceiling.empty()
                   ? ""
                   : fmt::format(", {:.0f}% of {}", 100 * result->share, result->ceiling),
               result->text);
    std::fflush(stdout);
  }
  return {};
}

/// Three prompts to the model that comes with the program.
Result<int> talk_with(LoadedModel& loaded) {
  static constexpr const char* kPrompts[] = {
      "What is 123 + 456?", "Sort these numbers in ascending order: 34, 7, 91, 12.",
      "Read the text. Anna lives in Paris. Tom has a parrot. Where does Anna live?"};
  fmt::print(
      "\nThe model tiny, a DeepSeek-V4 of 7 MB trained on such questions ({} measures how often it "
      "is right):\n",
      "`tessera eval tiny`");
  for (const char* prompt : kPrompts) {
    engine::Conversation conversation(*loaded.generator, *loaded.tokenizer);
    conversation.chat.mode = text::ThinkingMode::chat;
    conversation.request.max_new_tokens = 32;
    conversation.request.end_tokens = loaded.end_tokens;
    TESSERA_ASSIGN(const engine::Reply reply, conversation.ask(prompt));
    fmt::print("  > {}\n    {}\n    {}\n", prompt, nlohmann::json(reply.completion.content).dump(),
               stats_text(reply.answer.stats));
    std::fflush(stdout);
  }
  return 0;
}

Result<int> talk(const Program& program) {
  Arguments arguments;
  arguments.add("MODEL", {"tiny"});
  arguments.add("context", {"512"});
  return with_model(arguments, program, {}, talk_with);
}

Result<int> run(const Arguments&, const Program& program) {
  fmt::print(
      "Tessera: one source, every chip. {} operators, each written once; the chips found here:\n",
      ops::all_operators().size());
  size_t bad = 0;
  for (const runtime::ChipEntry& chip : runtime::chips()) {
    const auto devices = chip.devices({});
    if (!devices.ok() || devices->empty()) {
      fmt::print("  {:<8} no device here\n", chip.name);
      continue;
    }
    const auto tested = test_chip(chip.name, program);
    if (tested.ok())
      bad += *tested;
    else
      fmt::print("  {:<8} {}\n", chip.name, tested.error().message);
  }
  if (runtime::find_chip(kDefaultChip).ok()) TESSERA_TRY(time_operators(program));
  if (const auto talked = talk(program); !talked.ok()) {
    fmt::print("{}\n", talked.error().message);
    ++bad;
  }
  fmt::print(
      "\nNext: `{0} run tiny -p 'Hello'`, `{0} chat tiny`, `{0} ops list`, `{0} ops show rms_norm "
      "--trace`, `{0} ops bench`, `{0} doctor`, "
      "`{0} --help`\n",
      program.name);
  return bad == 0 ? 0 : 1;
}

}  // namespace

CommandSpec tour_command() {
  return {.path = "tour",
          .summary = "A short look at what works on this machine",
          .details = "Tests a few operators on every chip, times a few, and asks the model tiny.",
          .positionals = {},
          .options = {},
          .run = run};
}

}  // namespace tessera::cli
