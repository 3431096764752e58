// SPDX-License-Identifier: Apache-2.0
// The memory a model would take, before anything is loaded.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "tessera/base/memory_limit.h"
#include "tessera/base/resident_memory.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/planned_memory.h"
#include "tessera/cli/rank_choice.h"
#include "tessera/cli/rank_job.h"
#include "tessera/cli/session.h"
#include "tessera/model/deepseek_v4/memory_plan.h"
#include "tessera/model/deepseek_v4/model.h"
#include "tessera/model/deepseek_v4/tensor_names.h"
#include "tessera/model/deepseek_v4/weight_match.h"

namespace tessera::cli {
namespace {

using namespace model::deepseek_v4;
using checkpoint::Checkpoint;
using nlohmann::json;

constexpr int64_t kPage = 4096;

/// Everything that plans are made from.
struct Planner {
  Config config;
  std::vector<WeightSpec> weights;
  bool copies_weights = false;  // the device cannot read the checkpoint's pages
  kernels::KernelLibrary* library = nullptr;
  ModelOptions options;

  /// Weights alone; they do not depend on the context.
  const MemoryPlan& weights_of(const Rank& rank) {
    const auto [entry, added] = weight_plans_.try_emplace(std::pair(rank.count, rank.experts));
    if (!added) return entry->second;
    MemoryPlan& plan = entry->second;
    ModelOptions own = options;
    own.rank = rank;
    plan = plan_weights(weights, config, rank.count, weight_use(own));
    if (copies_weights) {
      plan.copied += plan.mapped;
      plan.mapped = 0;
    }
    return plan;
  }

  Result<MemoryPlan> at(int64_t context, const Rank& rank) {
    MemoryPlan plan = weights_of(rank);
    ModelOptions own = options;
    own.context = context;
    own.rank = rank;
    TESSERA_ASSIGN(plan.working,
                   working_memory(config, library->device().info(), !copies_weights, own));
    return plan;
  }

 private:
  std::map<std::pair<int64_t, ExpertExchange>, MemoryPlan> weight_plans_;
};

struct Memory {
  uint64_t bytes = 0;
  std::string_view source;
};

/// What would fit where the plan does not.
struct Advice {
  std::optional<int64_t> context, ranks;
};

Result<Memory> memory_for(const Arguments& arguments, const runtime::Device& device,
                          bool is_device_memory) {
  if (arguments.has("memory")) {
    TESSERA_ASSIGN(const uint64_t bytes, parse_size(arguments.text("memory")));
    return Memory{bytes, "--memory"};
  }
  if (is_device_memory)
    return Memory{static_cast<uint64_t>(device.info().memory_bytes), "of the device"};
  const MemoryLimit limit = MemoryLimit::read();
  return Memory{static_cast<uint64_t>(limit.total),
                limit.is_cgroup ? "the limit of the cgroup" : "of this machine"};
}

/// Whether kernels of the device can read memory of the host, as a mapped checkpoint is.
bool reads_host_memory(runtime::Device& device) {
  alignas(kPage) static std::byte page[kPage];
  return device.import_host(page).ok();
}

Result<Advice> advise(Planner& planner, uint64_t memory) {
  Advice advice;
  TESSERA_ASSIGN(
      advice.context,
      largest_context([&](int64_t context) { return planner.at(context, planner.options.rank); },
                      memory, planner.config.max_positions));
  Rank more = planner.options.rank;
  for (++more.count; more.count <= planner.config.heads && !advice.ranks; ++more.count) {
    if (!check_ranks(planner.config, more.count).ok() || planner.weights_of(more).all() > memory)
      continue;
    TESSERA_ASSIGN(const MemoryPlan plan, planner.at(planner.options.context, more));
    if (fit_into(plan, memory) == Fit::resident) advice.ranks = more.count;
  }
  return advice;
}

constexpr std::string_view fit_name(Fit fit) {
  return fit == Fit::resident ? "resident" : fit == Fit::streamed ? "streamed" : "no";
}

json plan_json(const Planner& planner, const MemoryPlan& plan, const Memory& memory,
               const std::optional<Advice>& advice) {
  json working = json::object();
  for (const MemoryPart& part : plan.working) working[std::string(part.name)] = part.bytes;
  json result = {{"precision", name(planner.options.precision)},
                 {"context", planner.options.context},
                 {"sequences", planner.options.sequences},
                 {"ranks", planner.options.rank.count},
                 {"rank",
                  {{"mapped", plan.mapped},
                   {"copied", plan.copied},
                   {"working", working},
                   {"anonymous", plan.anonymous()},
                   {"all", plan.all()}}},
                 {"memory", memory.bytes},
                 {"fit", fit_name(fit_into(plan, memory.bytes))},
                 {"read_per_token", plan.read_per_token}};
  if (advice && advice->context) result["largest_context"] = *advice->context;
  if (advice && advice->ranks) result["fewest_ranks"] = *advice->ranks;
  return result;
}

void print_line(std::string_view kind, std::string_view what, uint64_t bytes) {
  fmt::print("  {:<10} {:<12} {:>19} {:>11}\n", kind, what, grouped(bytes),
             size_text(static_cast<double>(bytes)));
}

void print_plan(const Planner& planner, const std::string& folder, const MemoryPlan& plan) {
  const ModelOptions& options = planner.options;
  fmt::print("{}: {}, context {}, {} sequence{}, steps of {} tokens{}\n\n", folder,
             name(options.precision), options.context, options.sequences,
             options.sequences == 1 ? "" : "s", options.largest_step,
             options.rank.count == 1 ? "" : fmt::format(", each of {} ranks", options.rank.count));
  print_line("mapped", "weights", plan.mapped);
  print_line("copied", "weights", plan.copied);
  for (const MemoryPart& part : plan.working) print_line("anonymous", part.name, part.bytes);
  print_line("all", "", plan.all());
  print_line("beside it", "program", static_cast<uint64_t>(resident_bytes()));
}

void print_verdict(const Planner& planner, const MemoryPlan& plan, const Memory& memory,
                   const std::optional<Advice>& advice) {
  const Fit fit = fit_into(plan, memory.bytes);
  const auto size = [](uint64_t bytes) { return size_text(static_cast<double>(bytes)); };
  fmt::print("\nmemory {} ({}): ", size(memory.bytes), memory.source);
  if (fit == Fit::resident) {
    fmt::print("fits, {} to spare\n", size(memory.bytes - plan.all()));
    return;
  }
  fmt::print("does not fit, {} are missing\n", size(plan.all() - memory.bytes));
  if (fit == Fit::streamed) {
    const uint64_t kept = memory.bytes - plan.anonymous();
    const double read = static_cast<double>(plan.read_per_token) *
                        (1 - static_cast<double>(kept) / static_cast<double>(plan.mapped));
    fmt::print(
        "  weights would be read from disk again and again: about {} a token, {:.2g} "
        "tokens/s at 1 GiB/s\n",
        size_text(read), 0x1p30 / read);
  }
  if (advice->context && *advice->context < planner.options.context)
    fmt::print("  fits with --ctx {} and below\n", *advice->context);
  if (advice->ranks) fmt::print("  fits with --tp {}, this much memory for each\n", *advice->ranks);
  if (!advice->ranks && !advice->context) fmt::print("  no context and no number of ranks fits\n");
}

Result<std::vector<RankChoice>> choices(Planner& planner, int64_t devices, uint64_t memory) {
  std::vector<RankChoice> all;
  const Numerics numerics = Numerics::of(planner.options);
  const RowForm form{size_in_bytes(numerics.activation, 1), numerics.official};
  for (int64_t count = 1; count <= devices; ++count) {
    if (!check_ranks(planner.config, count).ok()) continue;
    for (const auto experts : {ExpertExchange::all_reduce, ExpertExchange::all_to_all}) {
      if (count == 1 && experts == ExpertExchange::all_to_all) continue;
      const Rank rank{0, count, experts};
      TESSERA_ASSIGN(MemoryPlan plan, planner.at(planner.options.context, rank));
      const bool fits = fit_into(plan, memory) == Fit::resident;
      all.push_back({rank, std::move(plan), layer_traffic(planner.config, rank, form), fits});
    }
  }
  return all;
}

Result<ModelOptions> model_options(const Arguments& arguments, const Config& config) {
  ModelOptions options;
  TESSERA_ASSIGN(options.precision, chosen_precision(arguments, config));
  TESSERA_ASSIGN(options.context, positive_option(arguments, "ctx", options.context));
  TESSERA_ASSIGN(options.sequences, positive_option(arguments, "batch", options.sequences));
  options.mtp = arguments.flag("mtp");
  TESSERA_ASSIGN(options.rank.count, positive_option(arguments, "tp", 1));
  TESSERA_ASSIGN(options.rank.experts, chosen_experts(arguments));
  return options;
}

Result<int> run(const Arguments& arguments, const Program& program) {
  const std::string folder = arguments.text("DIR");
  Planner planner;
  TESSERA_ASSIGN(planner.config, load_config(folder));
  TESSERA_ASSIGN(planner.options, model_options(arguments, planner.config));
  if (!arguments.has("ctx"))
    planner.options.context = std::min(planner.options.context, planner.config.max_positions);
  TESSERA_TRY(check_ranks(planner.config, planner.options.rank.count));

  // Before weights are downloaded the config alone says what they will be.
  const auto opened = open_checkpoint(folder);
  if (!opened.ok() && opened.error().code != ErrorCode::not_found) return opened.error();
  std::string note;
  if (opened.ok()) {
    WeightMatch match = match_weights(*opened, planner.config);
    const auto complete = match.check(WeightMatch::Part::trunk);
    note = complete.ok() ? "" : "the checkpoint is not usable: " + complete.error().message + "\n";
    planner.weights = std::move(match.weights);
  } else {
    planner.weights = expand_weights(planner.config, planner.config.draft_layers);
    note = opened.error().message + "; sizes are those the config asks for\n";
  }

  TESSERA_ASSIGN(const Session session, open_session(arguments, program));
  planner.library = session.library.get();
  planner.copies_weights = !reads_host_memory(*session.device);
  TESSERA_ASSIGN(const Memory memory,
                 memory_for(arguments, *session.device, planner.copies_weights));
  TESSERA_ASSIGN(const MemoryPlan plan, planner.at(planner.options.context, planner.options.rank));
  const bool fits = fit_into(plan, memory.bytes) == Fit::resident;
  std::optional<Advice> advice;
  if (!fits) {
    TESSERA_ASSIGN(advice, advise(planner, memory.bytes));
  }
  std::vector<RankChoice> shared;
  TESSERA_ASSIGN(const int64_t devices, positive_option(arguments, "devices", 1));
  if (arguments.has("devices")) {
    TESSERA_ASSIGN(shared, choices(planner, devices, memory.bytes));
  }
  const RankChoice* const best = recommended(shared, planner.options.sequences);
  if (arguments.json()) {
    json result = plan_json(planner, plan, memory, advice);
    if (!shared.empty()) {
      result["choices"] = choices_json(shared);
      if (best) {
        result["best"] = best->rank.count;
        result["best_experts"] = name(best->rank.experts);
      }
    }
    fmt::print("{}\n", result.dump(1));
  } else {
    print_plan(planner, folder, plan);
    print_verdict(planner, plan, memory, advice);
    if (!shared.empty()) print_choices(shared, best, devices, memory.bytes);
    fmt::print("{}", note);
  }
  return fits || best ? 0 : 1;
}

}  // namespace

CommandSpec plan_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "plan",
      .summary = "Show the memory a model would take and whether it fits",
      .details =
          "Loads nothing; without weights in DIR, config.json is enough. With --tp N everything "
          "is for one of N ranks. Exit code 1: it does not fit.\n"
          "--devices 16 --memory 32GB compares the numbers of ranks and the ways to reach experts; "
          "all-to-all is\n"
          "best where --batch has a token for every rank.\n"
          "Example: tessera plan DIR --ctx 131072 --memory 192GiB",
      .positionals = {{"DIR", "Folder of a checkpoint"}},
      .options = {{"--ctx", Kind::kNumber, "N", "Positions of a sequence (default 4096)"},
                  {"--batch", Kind::kNumber, "N", "Sequences at once (default 1)"},
                  {"--tp", Kind::kNumber, "N", "Tensor-parallel ranks (default 1)"},
                  kExpertsOption,
                  {"--devices", Kind::kNumber, "N",
                   "Show what a rank has when up to N of them share the model, and which is best"},
                  kPrecisionOption,
                  {"--mtp", Kind::kFlag, "", "With the block that drafts tokens"},
                  {"--memory", Kind::kText, "SIZE",
                   "Memory of a rank, as 64GiB (default: what this machine or device has)"},
                  kChipOption},
      .run = run};
}

}  // namespace tessera::cli
