// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "tessera/base/parallel.h"
#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/kernels/disk_cache.h"
#include "tessera/kernels/pack.h"
#include "tessera/model/deepseek_v4/model_kernels.h"
#include "tessera/ops/frame/ceilings.h"
#include "tessera/ops/frame/crash_note.h"
#include "tessera/ops/frame/prepared.h"

namespace tessera::cli {
namespace {

namespace deepseek = model::deepseek_v4;

struct Failure {
  std::string kernel, message;
};

/// Compiles traces for one architecture and puts them into a pack.
class Builder {
 public:
  /// `target`: the architecture, perhaps with features of its own.
  Builder(kernels::Provider& compiler, const Architecture& arch, std::string target,
          kernels::PackWriter& pack)
      : compiler_(compiler), arch_(arch), target_(std::move(target)), pack_(pack) {
    if (const auto folder = kernels::DiskCache::default_folder(); !folder.empty())
      cache_.emplace(folder);
  }

  /// The kernels of all cases; plans that cannot be traced are failures.
  void add(const ops::Operator& op) {
    for (const ops::Case& c : op.cases())
      for (const bool deterministic : {false, true}) add(op, c, {.deterministic = deterministic});
  }
  void add(lang::Trace trace) { traces_.emplace(trace.hash(), std::move(trace)); }

  void compile(int threads) {
    std::vector<const lang::Trace*> work;
    for (const auto& [hash, trace] : traces_) work.push_back(&trace);
    for_each_parallel(work.size(), threads, [&](size_t i) {
      const ops::CrashNote note("compiling", work[i]->name);
      auto image = fetch(*work[i]);
      const std::lock_guard lock(mutex_);
      if (image.ok())
        pack_.add(arch_.name, work[i]->hash(), work[i]->name, *image);
      else
        failures_.push_back({work[i]->name, image.error().to_string()});
      bar_.update(arch_.name, ++done_, work.size());
    });
    bar_.clear();
  }

  const std::vector<Failure>& failures() const { return failures_; }

 private:
  void add(const ops::Operator& op, const ops::Case& c, const ops::PlanOptions& options) {
    const auto problem = ops::problem_of(op, c);
    if (!problem.ok())
      return failures_.push_back({op.signature->name, problem.error().to_string()});
    auto traces =
        ops::trace_plan(ops::make_plan(op, *problem, arch_.capabilities, options), options);
    if (!traces.ok()) return failures_.push_back({op.signature->name, traces.error().to_string()});
    for (lang::Trace& trace : *traces) add(std::move(trace));
  }

  Result<runtime::KernelImage> fetch(const lang::Trace& trace) {
    TESSERA_ASSIGN(const std::string identity, compiler_.identity(target_));
    if (!cache_ || identity.empty()) return compiler_.compile(trace, target_);
    const Hash128 key = kernels::DiskCache::key(trace, identity);
    if (auto image = cache_->find(key)) return std::move(*image);
    auto image = compiler_.compile(trace, target_);
    if (image.ok()) cache_->store(key, *image);
    return image;
  }

  kernels::Provider& compiler_;
  const Architecture& arch_;
  const std::string target_;
  kernels::PackWriter& pack_;
  std::optional<kernels::DiskCache> cache_;
  std::map<Hash128, lang::Trace> traces_;
  std::vector<Failure> failures_;
  std::mutex mutex_;
  ProgressBar bar_;
  size_t done_ = 0;
};

/// `chip` is an architecture ("cpu:x86-64-v3"), also one with features
/// ("cpu:x86-64-v4+avx512bf16"), or a device that is here ("cpu:avx2").
Result<Architecture> find_architecture(const std::string& chip, const Program& program) {
  std::vector<std::string_view> names;
  for (const Architecture& arch : program.architectures) {
    if (arch.name == chip.substr(0, chip.find('+'))) return arch;
    names.push_back(arch.name);
  }
  const auto device = runtime::open_device(chip);
  if (!device.ok())
    return invalid_argument(
        fmt::format("\"{}\" is neither an architecture ({}) nor a device here ({})", chip,
                    fmt::join(names, ", "), device.error().message));
  const runtime::DeviceInfo& info = (*device)->info();
  return Architecture{info.arch, info.capabilities};
}

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
  TESSERA_ASSIGN(packed.options.precision, chosen_precision(arguments));
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

Result<int> run(const Arguments& arguments, const Program& program) {
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

  kernels::PackWriter pack{std::string(program.compiler->version())};
  ops::print_notes_on_crash();
  std::vector<std::string> names;
  size_t failed = 0;
  for (const std::string& chip : chips) {
    TESSERA_ASSIGN(const Architecture arch, find_architecture(chip, program));
    const size_t features = std::min(chip.find('+'), chip.size());
    Builder builder(*program.compiler, arch, arch.name + chip.substr(features), pack);
    if (model) {
      TESSERA_ASSIGN(auto traces, deepseek::model_kernels_of_any_context(
                                      model->config, model->options, arch.capabilities));
      for (lang::Trace& trace : traces) builder.add(std::move(trace));
    } else {
      for (lang::Trace& trace : ops::ceiling_traces(arch.capabilities))
        builder.add(std::move(trace));
      for (const ops::Operator* op : operators) builder.add(*op);
    }
    builder.compile(arguments.integer("threads", 0));
    for (const Failure& failure : builder.failures())
      fmt::print(stderr, "{} for {}: {}\n", failure.kernel, arch.name, failure.message);
    failed += builder.failures().size();
    names.push_back(arch.name);
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
                  {"-o,--output", Kind::kText, "FILE", "File to write (default tessera.pack)"},
                  {"--list", Kind::kText, "FILE", "Say what a pack holds instead"},
                  kThreadsOption},
      .run = run};
}

}  // namespace tessera::cli
