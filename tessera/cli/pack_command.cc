// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/pack_builder.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/kernels/finished_pack.h"
#include "tessera/kernels/pack.h"
#include "tessera/model/deepseek_v4/model_kernels.h"
#include "tessera/ops/frame/ceilings.h"
#include "tessera/ops/frame/crash_note.h"

namespace tessera::cli {
namespace {

namespace deepseek = model::deepseek_v4;

struct PackedModel {
  deepseek::Config config;
  deepseek::ModelOptions options;
};

/// A model for any context, any steps up to kPackedStep tokens, with and without drafts.
Result<PackedModel> packed_model(const Arguments& arguments) {
  constexpr int64_t kPackedStep = 4096;
  if (arguments.has("op"))
    return invalid_argument("--model packs the kernels of a model, --op those of operators");
  PackedModel packed;
  TESSERA_ASSIGN(const auto folder, model_folder(arguments.text("model")));
  TESSERA_ASSIGN(packed.config, deepseek::load_config(folder));
  TESSERA_ASSIGN(packed.options.precision, chosen_precision(arguments, packed.config));
  packed.options.largest_step = kPackedStep;
  packed.options.deterministic = arguments.flag("deterministic");
  packed.options.mtp = packed.config.draft_layers > 0 && !packed.config.dspark;
  return packed;
}

Result<int> list(const std::string& file, bool json) {
  TESSERA_ASSIGN(const auto pack, kernels::Pack::open(file));
  if (json) {
    nlohmann::json all = {{"file", file},
                          {"compiler", pack->compiler_version()},
                          {"kernels", nlohmann::json::array()}};
    for (const kernels::Pack::Entry& entry : pack->entries())
      all["kernels"].push_back({{"arch", entry.arch},
                                {"kernel", entry.kernel},
                                {"trace", entry.trace.hex()},
                                {"bytes", entry.bytes}});
    fmt::print("{}\n", all.dump(1));
    return 0;
  }
  for (const kernels::Pack::Entry& entry : pack->entries())
    fmt::print("{:<20} {:<36} {} {:>10}\n", entry.arch, entry.kernel, entry.trace.hex(),
               size_text(static_cast<double>(entry.bytes)));
  fmt::print("{} kernels for {}, made by compiler {}\n", pack->entries().size(),
             fmt::join(pack->architectures(), ", "), pack->compiler_version());
  return 0;
}

/// Beside the pack, its kernels as machine code of the GPU that is here.
Result<int> finish(const Arguments& arguments) {
  const auto chips = arguments.list("chip");
  if (chips.size() != 1) return invalid_argument("--finish needs the one --chip that is here");
  TESSERA_ASSIGN(const auto device, as_usage(runtime::open_device(chips[0])));
  const std::string file = arguments.text("finish");
  TESSERA_ASSIGN(const auto pack, kernels::Pack::open(file));
  const std::string& arch = device->info().arch;
  const auto architectures = pack->architectures();
  if (std::ranges::find(architectures, arch) == architectures.end())
    return not_found(fmt::format("pack {} holds kernels for {}, none for {}", file,
                                 fmt::join(architectures, ", "), arch));
  ProgressBar bar;
  const auto start = std::chrono::steady_clock::now();
  TESSERA_ASSIGN(const auto finished,
                 kernels::finish(*pack, *device, arguments.integer("threads", 0),
                                 [&](size_t done, size_t total) {
                                   bar.update("compiling by the driver", done, total);
                                 }));
  bar.clear();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const auto bytes = std::filesystem::file_size(finished->path());
  if (arguments.json())
    fmt::print("{}\n", nlohmann::json({{"file", finished->path().string()},
                                       {"kernels", finished->entries().size()},
                                       {"bytes", bytes},
                                       {"seconds", elapsed.count()}})
                           .dump());
  else
    fmt::print("{}: {} kernels for {}, {}, in {:.1f} s\n", finished->path().string(),
               finished->entries().size(), device->info().name,
               size_text(static_cast<double>(bytes)), elapsed.count());
  return 0;
}

Result<int> run(const Arguments& arguments, const Program& program) {
  if (arguments.has("finish")) return finish(arguments);
  if (arguments.has("list")) return list(arguments.text("list"), arguments.json());
  if (program.compiler == nullptr)
    return invalid_argument(
        fmt::format("{} has no compiler; make packs with the program `tessera`", program.name));
  TESSERA_ASSIGN(const auto operators, chosen_operators(arguments));
  std::vector<std::string> chips = arguments.list("chip");
  if (chips.empty()) chips.push_back(kDefaultChip);
  const std::string file = arguments.text("output", "tessera.pack");
  std::optional<PackedModel> model;
  if (arguments.has("model")) {
    TESSERA_ASSIGN(model, packed_model(arguments));
  }

  TESSERA_ASSIGN(const ops::TuningFile tuning, chosen_tuning(arguments));
  kernels::PackWriter pack{std::string(program.compiler->version())};
  if (!tuning.winners().empty()) pack.set_tuning(tuning.text());
  ops::print_notes_on_crash();
  std::vector<std::string> names;
  size_t failed = 0;
  for (const std::string& chip : chips) {
    TESSERA_ASSIGN(const PackTarget target, PackTarget::find(chip, program, tuning));
    PackBuilder builder(*program.compiler, target, pack);
    for (lang::Trace& trace : ops::ceiling_traces(target.capabilities))  // for benchmarks
      builder.add(std::move(trace));
    if (model) {
      TESSERA_ASSIGN(auto traces, deepseek::model_kernels_of_any_context(
                                      model->config, model->options, target.capabilities));
      for (lang::Trace& trace : traces) builder.add(std::move(trace));
    } else {
      for (const ops::Operator* op : operators) builder.add(*op);
    }
    builder.compile(arguments.integer("threads", 0));
    failed += builder.report();
    names.push_back(target.arch);
  }
  TESSERA_ASSIGN(const uint64_t bytes, pack.write(file));
  if (arguments.json())
    fmt::print("{}\n", nlohmann::json({{"file", file},
                                       {"architectures", names},
                                       {"kernels", pack.size()},
                                       {"failed", failed},
                                       {"bytes", bytes}})
                           .dump());
  else
    fmt::print("{}: {} kernels for {}, {}{}\n", file, pack.size(), fmt::join(names, ", "),
               size_text(static_cast<double>(bytes)),
               failed == 0 ? "" : fmt::format("; {} failed", failed));
  return failed == 0 ? 0 : 1;
}

}  // namespace

CommandSpec pack_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "pack",
      .summary = "Compile kernels ahead of time into one file",
      .details =
          "A device of the architecture need not be here. With the pack, `tessera-rt` and "
          "other programs\n"
          "run the operators without a compiler; with --model, they run that model with any "
          "context,\n"
          "with and without --mtp. Of a model only config.json is read.\n"
          "Kernels use the optional features of this machine; for another one, name its own "
          "features.\n"
          "--finish: kernels for GPUs are in the driver's own assembly, which it compiles at each "
          "load; done once,\n"
          "the machine code is kept beside the pack and found there. It needs no compiler.\n"
          "Example: tessera pack --chip cpu:x86-64-v4+avx512bf16+avx512vnni+avx512vbmi "
          "--chip null -o kernels.pack\n"
          "         tessera pack --model tiny -o tiny.pack; tessera-rt run tiny -p Hello --pack "
          "tiny.pack",
      .positionals = {},
      .options = {{"-c,--chip", Kind::kList, "CHIP",
                   "Architecture or device; may be repeated (default cpu)"},
                  kOpOption,
                  {"--model", Kind::kText, "MODEL",
                   "Kernels of this model instead of the operators' own cases"},
                  kPrecisionOption,
                  {"--deterministic", Kind::kFlag, "",
                   "With --model: those of `run --deterministic`"},
                  kTuningOption,
                  {"-o,--output", Kind::kText, "FILE", "File to write (default tessera.pack)"},
                  {"--list", Kind::kText, "FILE", "Say what a pack holds instead"},
                  {"--finish", Kind::kText, "FILE",
                   "Compile a pack's kernels to machine code of the --chip that is here"},
                  kThreadsOption},
      .run = run};
}

}  // namespace tessera::cli
