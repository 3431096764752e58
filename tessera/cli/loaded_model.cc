// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "tessera/base/memory_limit.h"
#include "tessera/base/resident_memory.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/cli/chat_folder.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/planned_memory.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/text_input.h"
#include "tessera/engine/deepseek_model.h"
#include "tessera/model/deepseek_v4/memory_fit.h"
#include "tessera/model/deepseek_v4/model_kernels.h"
#include "tessera/model/deepseek_v4/tensor_names.h"

namespace tessera::cli {

namespace fs = std::filesystem;
namespace deepseek = model::deepseek_v4;

std::vector<OptionSpec> generation_options(std::vector<OptionSpec> more) {
  using Kind = OptionSpec::Kind;
  std::vector<OptionSpec> options = {
      {"-n,--max-new-tokens", Kind::kNumber, "N",
       "Tokens of an answer at most (default 512; 0: until the context is full)"},
      {"-t,--temperature", Kind::kNumber, "T",
       "Chance in choosing tokens (default 0: always the likeliest)"},
      {"--top-p", Kind::kNumber, "P", "Only the likeliest tokens that together have probability P"},
      {"--top-k", Kind::kNumber, "K", "Only the K likeliest tokens"},
      {"--min-p", Kind::kNumber, "P", "Only tokens at least P times as likely as the likeliest"},
      {"--repetition-penalty", Kind::kNumber, "R", "Divides the logits of tokens seen (default 1)"},
      {"--frequency-penalty", Kind::kNumber, "F", "Taken from a logit each time it was generated"},
      {"--presence-penalty", Kind::kNumber, "F", "Taken from a logit once it was generated"},
      {"--seed", Kind::kNumber, "N", "The same seed gives the same text (default 0)"},
      {"--stop", Kind::kList, "TEXT", "Text that ends an answer; may be repeated"},
      {"--system", Kind::kText, "TEXT", "System message before the conversation"},
      {"--thinking", Kind::kFlag, "", "Let the model reason before it answers"},
      kEffortOption,
      kEncodingOption,
      kPrecisionOption,
      {"--context", Kind::kNumber, "N",
       "Tokens a conversation can have (default 8192, or fewer if the model has fewer)"},
      {"--chunk", Kind::kNumber, "N", "Tokens of a prompt computed at once (default 512)"},
      {"--mtp", Kind::kFlag, "", "Draft tokens with the model's MTP block and verify them"},
      {"--deterministic", Kind::kFlag, "",
       "A token's numbers do not depend on what is computed beside it; slower"},
      {"--stream-weights", Kind::kFlag, "",
       "Run even if weights do not stay in memory and are read again for every token"},
      {"--stats", Kind::kFlag, "", "Print tokens and speed to standard error"},
      kTpOption,
      kExpertsOption,
      kPatienceOption,
      kThreadsOption,
      kChipOption,
      kPackOption,
      kTuningOption,
  };
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

namespace {

using Clock = std::chrono::steady_clock;

Result<deepseek::ModelOptions> model_options(const Arguments& arguments,
                                             const deepseek::Config& config) {
  deepseek::ModelOptions options;
  TESSERA_ASSIGN(options.precision, chosen_precision(arguments, config));
  TESSERA_ASSIGN(options.context, whole_number(arguments, "context",
                                               std::min<int64_t>(8192, config.max_positions), 1));
  if (options.context > config.max_positions)
    return invalid_argument(fmt::format("--context is {}, this model has at most {}",
                                        options.context, config.max_positions));
  TESSERA_ASSIGN(options.largest_step, whole_number(arguments, "chunk", 512, 1));
  TESSERA_ASSIGN(options.sequences, whole_number(arguments, "batch", 1, 1));
  options.largest_step =
      std::max<int64_t>(2 * options.sequences, std::min(options.largest_step, options.context));
  options.deterministic = arguments.flag("deterministic");
  options.mtp = arguments.flag("mtp");
  TESSERA_ASSIGN(options.rank.experts, chosen_experts(arguments));
  if (options.mtp && config.draft_layers == 0)
    return invalid_argument("this model has no draft block (MTP); run it without --mtp");
  return options;
}

/// Holds what the model will take against what the host has; bytes of the process with it.
Result<uint64_t> check_memory(const Arguments& arguments, const deepseek::Config& config,
                              kernels::KernelLibrary& library,
                              const deepseek::ModelOptions& options) {
  const int64_t here = comm::MpiJob::local_ranks(),
                available = MemoryLimit::read().available / here;
  if (available <= 0) return uint64_t{0};
  const auto weights = deepseek::expand_weights(config, config.draft_layers);
  const deepseek::MemoryPlan fixed =
      deepseek::plan_weights(weights, config, options.rank.count, weight_use(options));
  const auto plan_at = [&](int64_t context) -> Result<deepseek::MemoryPlan> {
    deepseek::ModelOptions at = options;
    at.context = context;
    deepseek::MemoryPlan plan = fixed;
    TESSERA_ASSIGN(plan.working,
                   working_memory(config, library.device().info(), /*on_host=*/true, at));
    return plan;
  };
  TESSERA_ASSIGN(const deepseek::MemoryPlan plan, plan_at(options.context));
  deepseek::MemoryFit fit{.memory = static_cast<uint64_t>(available),
                          .context = options.context,
                          .may_stream = arguments.flag("stream-weights")};
  if (deepseek::fit_into(plan, fit.memory) == deepseek::Fit::no) {
    TESSERA_ASSIGN(fit.largest_context,
                   deepseek::largest_context(plan_at, fit.memory, options.context));
  }
  TESSERA_TRY(deepseek::check_fit(plan, fit));
  return plan.all() + static_cast<uint64_t>(resident_bytes());
}

}  // namespace

Result<int64_t> whole_number(const Arguments& arguments, std::string_view name, int64_t fallback,
                             int64_t least) {
  const double value = arguments.number(name, static_cast<double>(fallback));
  if (value >= static_cast<double>(least) && value == std::floor(value) && value < 0x1p53)
    return static_cast<int64_t>(value);
  return invalid_argument(fmt::format("--{} is {}, expected a whole number from {} on", name,
                                      arguments.text(name), least));
}

Result<engine::Request> read_request(const Arguments& arguments) {
  engine::Request request;
  TESSERA_ASSIGN(request.max_new_tokens, whole_number(arguments, "max-new-tokens", 512, 0));
  TESSERA_ASSIGN(request.sampling.top_k, whole_number(arguments, "top-k", 0, 0));
  TESSERA_ASSIGN(const int64_t seed, whole_number(arguments, "seed", 0, 0));
  request.sampling.seed = static_cast<uint64_t>(seed);
  request.sampling.temperature = arguments.number("temperature", 0);
  request.sampling.top_p = arguments.number("top-p", 1);
  request.sampling.min_p = arguments.number("min-p", 0);
  request.sampling.repetition_penalty = arguments.number("repetition-penalty", 1);
  request.sampling.frequency_penalty = arguments.number("frequency-penalty", 0);
  request.sampling.presence_penalty = arguments.number("presence-penalty", 0);
  TESSERA_TRY(request.sampling.check());
  request.stop = arguments.list("stop");
  if (std::ranges::any_of(request.stop, &std::string::empty))
    return invalid_argument("a --stop text is empty");
  return request;
}

namespace {

/// What every rank has before the model is loaded.
struct Opened {
  LoadedModel loaded;
  deepseek::Config config;
  deepseek::ModelOptions options;
  std::shared_ptr<const checkpoint::Checkpoint> checkpoint;
};

using Doing = std::function<void(std::string_view what, size_t step)>;

/// Sees to the kernels of steps of every size, so that none is compiled while an answer comes.
Result<> provide_kernels(const Arguments& arguments, const Opened& opened,
                         const deepseek::ModelOptions& options, ProgressBar& bar) {
  kernels::KernelLibrary& library = *opened.loaded.session.library;
  const runtime::DeviceInfo& device = library.device().info();
  TESSERA_ASSIGN(const std::string config,
                 read_text_file((opened.loaded.folder / "config.json").string()));
  const auto list = [&] {
    return deepseek::model_kernels(opened.config, options, device.capabilities);
  };
  const auto start = Clock::now();
  const auto progress = [&](size_t done, size_t total) {
    if (Clock::now() - start > std::chrono::seconds(1))
      bar.update("compiling kernels, once for this model", done, total);
  };
  auto provided = library.provide(
      deepseek::subject_of_kernels(config, options, device.capabilities), list, progress);
  if (provided.ok() || provided.error().code != ErrorCode::not_found) return provided;
  std::string same;
  if (arguments.has("precision")) same += " --precision " + arguments.text("precision");
  if (options.deterministic) same += " --deterministic";
  return not_found(fmt::format(
      "{}; make a pack with `tessera pack --model {} --chip {}{} -o FILE` and give it with --pack "
      "FILE",
      provided.error().message, arguments.text("MODEL"), device.arch, same));
}

Result<> open(Opened& opened, const Arguments& arguments, const Program& program,
              const deepseek::Rank& rank, const ModelUse& use, const Doing& doing) {
  LoadedModel& loaded = opened.loaded;
  TESSERA_ASSIGN(loaded.folder, model_folder(arguments.text("MODEL")));
  doing("checkpoint", 0);
  TESSERA_ASSIGN(opened.config, deepseek::load_config(loaded.folder));
  TESSERA_ASSIGN(opened.options, model_options(arguments, opened.config));
  opened.options.snapshots = use.snapshots;
  TESSERA_TRY(deepseek::check_options(opened.config, opened.options));
  TESSERA_TRY(deepseek::check_ranks(opened.config, rank.count));
  TESSERA_ASSIGN(auto checkpoint,
                 deepseek::open_checkpoint(loaded.folder, deepseek::Shards(opened.config, rank)));
  opened.checkpoint = std::make_shared<const checkpoint::Checkpoint>(std::move(checkpoint));
  loaded.end_tokens.assign(opened.config.eos_tokens.begin(), opened.config.eos_tokens.end());
  doing("tokenizer", 1);
  if (use.tokenizer || fs::exists(loaded.folder / "tokenizer.json")) {
    TESSERA_ASSIGN(auto tokenizer, load_tokenizer(loaded.folder));
    loaded.tokenizer = std::make_unique<const text::Tokenizer>(std::move(tokenizer));
  }
  doing("device", 2);
  TESSERA_ASSIGN(loaded.session, open_session(arguments, program));
  deepseek::ModelOptions planned = opened.options;
  planned.rank.count = rank.count;
  TESSERA_ASSIGN(loaded.planned_bytes,
                 check_memory(arguments, opened.config, *loaded.session.library, planned));
  return {};
}

}  // namespace

Result<int> with_model(const Arguments& arguments, const Program& program, const ModelUse& use,
                       const std::function<Result<int>(LoadedModel&)>& answer) {
  const auto start = Clock::now();
  TESSERA_ASSIGN(auto joined, RankJob::join(arguments));
  RankJob& job = *joined;
  ProgressBar bar(job.leads());
  const std::string name = fs::path(arguments.text("MODEL")).filename().string();
  const Doing doing = [&](std::string_view what, size_t step) {
    bar.update(fmt::format("loading {}: {}", name, what), step, 4);
  };
  Opened opened;
  const auto own = open(opened, arguments, program, job.rank({}), use, doing);
  LoadedModel& loaded = opened.loaded;
  TESSERA_TRY(job.meet(arguments, opened.checkpoint.get(), loaded.session,
                       own.ok() ? nullptr : &own.error()));
  const auto load =
      [&](const deepseek::ModelOptions& options) -> Result<std::unique_ptr<deepseek::Model>> {
    deepseek::ModelOptions own = options;
    own.rank = job.rank(options.rank);
    const int64_t before = resident_bytes();
    TESSERA_TRY(provide_kernels(arguments, opened, own, bar));
    loaded.compiling_bytes = static_cast<uint64_t>(peak_resident_bytes() - before);
    return deepseek::Model::load(opened.checkpoint, opened.config, *loaded.session.library, options,
                                 job.model_job());
  };
  if (!job.leads()) return job.follow(load);
  const auto run = [&]() -> Result<int> {
    doing("kernels and weights", 3);
    TESSERA_ASSIGN(auto model, load(opened.options));
    loaded.model = std::make_unique<engine::DeepSeekModel>(std::move(model));
    loaded.generator = std::make_unique<engine::Generator>(
        *loaded.model, loaded.tokenizer.get(),
        engine::GeneratorOptions{.speculate = opened.options.mtp});
    loaded.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    bar.clear();
    return answer(loaded);
  };
  return job.finish(run());
}

std::string traffic_text(const LoadedModel& loaded, const engine::GenerationStats& stats) {
  const deepseek::Model& model = loaded.model->model();
  // The last token of an answer is not computed with.
  const auto tokens = static_cast<double>(stats.prompt_tokens - stats.reused_tokens +
                                          std::max<int64_t>(stats.generated_tokens - 1, 0));
  const auto layers = static_cast<double>(model.config().layers.size());
  std::string text;
  for (const deepseek::SectionTraffic& section : model.traffic()) {
    const bool is_of_layers = section.name != "embedding" && section.name != "logits";
    text += fmt::format(
        "{}{} {:.0f} B{}", text.empty() ? "sent by rank 0 per token: " : ", ", section.name,
        static_cast<double>(section.traffic.bytes) / tokens / (is_of_layers ? layers : 1),
        is_of_layers ? " a layer" : "");
  }
  return text;
}

std::string stats_text(const engine::GenerationStats& stats) {
  std::string text = fmt::format("prompt {} tokens", stats.prompt_tokens);
  if (stats.reused_tokens > 0) text += fmt::format(" ({} reused)", stats.reused_tokens);
  text += fmt::format(" in {:.3f} s, {:.1f} tok/s; answer {} tokens, {:.1f} tok/s",
                      stats.prefill_seconds, stats.prefill_rate(), stats.generated_tokens,
                      stats.decode_rate());
  if (stats.drafted_tokens > 0)
    text += fmt::format("; drafts accepted {} of {} ({:.0f} %)", stats.accepted_tokens,
                        stats.drafted_tokens, 100 * stats.acceptance());
  return text;
}

std::string memory_text(const LoadedModel& loaded) {
  const auto size = [](auto bytes) { return size_text(static_cast<double>(bytes)); };
  std::string text = fmt::format("memory {} at most, {} planned", size(peak_resident_bytes()),
                                 size(loaded.planned_bytes));
  if (loaded.session.library->stats().compiled > 0)
    text += fmt::format(" and {} for compiling kernels", size(loaded.compiling_bytes));
  return text;
}

}  // namespace tessera::cli
