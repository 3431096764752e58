// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/rank_job.h"
#include "tessera/cli/session.h"
#include "tessera/model/deepseek_v4/known_configs.h"
#include "tessera/model/deepseek_v4/made_weights.h"
#include "tessera/model/deepseek_v4/model.h"
#include "tessera/ops/frame/bench.h"
#include "tessera/ops/frame/operator_table.h"

namespace tessera::cli {
namespace {

using model::deepseek_v4::Config;
using model::deepseek_v4::Model;
using model::deepseek_v4::ModelOptions;
using model::deepseek_v4::SectionTime;
using model::deepseek_v4::Span;

struct Sizes {
  int64_t layers, prefill, decode, batch, position;
  bool mtp;
  int64_t all_layers;  // of the configuration before it was shortened
};

Result<Config> chosen_config(const std::string& name) {
  if (name == "flash") return model::deepseek_v4::flash_config();
  if (name == "pro") return model::deepseek_v4::pro_config();
  return as_usage(model::deepseek_v4::load_config(name));
}

Result<Sizes> chosen_sizes(const Arguments& arguments, const Config& config) {
  Sizes sizes{arguments.integer("layers", 4),
              arguments.integer("prefill", 512),
              arguments.integer("decode", 16),
              arguments.integer("batch", 1),
              arguments.integer("at-position", 0),
              arguments.flag("mtp"),
              std::ssize(config.layers)};
  for (const auto& [option, value, least] : {std::tuple{"--layers", sizes.layers, 1},
                                             {"--prefill", sizes.prefill, 0},
                                             {"--decode", sizes.decode, 0},
                                             {"--batch", sizes.batch, 1},
                                             {"--at-position", sizes.position, 0}})
    if (value < least)
      return invalid_argument(fmt::format("{} {}: at least {}", option, value, least));
  return sizes;
}

/// What the chip reached in this run: a read of memory, and our own product of a prompt's rows.
struct Rates {
  double read = 0;     // bytes a second
  double product = 0;  // operations a second
};

/// Shortest time these rates allow, in seconds; what bounds it.
std::pair<double, const char*> least_time(const ops::Cost& cost, const Rates& rates) {
  const double memory = (cost.bytes_read + cost.bytes_written) / rates.read;
  const double arithmetic = cost.flops / rates.product;
  return memory >= arithmetic ? std::pair{memory, "read"} : std::pair{arithmetic, "gemm"};
}

/// Operations per second of a linear layer of Flash over 512 rows, as a prompt's step runs it.
Result<double> product_rate(kernels::KernelLibrary& library, const ops::Ceilings& ceilings) {
  TESSERA_ASSIGN(const ops::Operator* const op, ops::find_operator("gemm_fp8"));
  const ops::Case linear{
      .dims = {{"T", 512}, {"N", 4096}, {"K", 4096}},
      .dtypes = {{"a", DType::f8e4m3}, {"a_scale", DType::f8e8m0}, {"y", DType::bf16}}};
  TESSERA_ASSIGN(const ops::BenchResult result, ops::run_bench(library, *op, linear, ceilings));
  return result.flops_per_second();
}

class Report {
 public:
  explicit Report(bool json) : json_(json) {}

  Rates rates;

  void line(const std::string& phase, const SectionTime& time) const {
    const auto [seconds, bound] = least_time(time.cost, rates);
    const double share = time.milliseconds > 0 ? seconds * 1e3 / time.milliseconds : 0;
    if (json_)
      fmt::print("{}\n", nlohmann::json{{"phase", phase},
                                        {"part", time.name},
                                        {"ms", time.milliseconds},
                                        {"bytes", time.cost.bytes_read + time.cost.bytes_written},
                                        {"flops", time.cost.flops},
                                        {"ceiling", bound},
                                        {"share", share}}
                             .dump());
    else
      fmt::print("{:<8} {:<20} {:>10.3f} ms {:>9.1f} MB {:>9.2f} GFLOP {:>6.1f}% of {}\n", phase,
                 time.name, time.milliseconds,
                 (time.cost.bytes_read + time.cost.bytes_written) / 1e6, time.cost.flops / 1e9,
                 100 * share, bound);
    std::fflush(stdout);
  }

  /// The parts, their sum, and what the whole model would take.
  void phase(const std::string& name, const std::vector<SectionTime>& times, const Sizes& sizes,
             double step_ms) const {
    SectionTime total{"whole step", step_ms, {}};
    double in_layers = 0, all = 0;
    for (const SectionTime& time : times) {
      line(name, time);
      total.cost.bytes_read += time.cost.bytes_read;
      total.cost.bytes_written += time.cost.bytes_written;
      total.cost.flops += time.cost.flops;
      all += time.milliseconds;
      if (time.name != "head" && time.name != "embedding" && time.name != "step tables")
        in_layers += time.milliseconds;
    }
    line(name, total);
    const double share = all > 0 ? in_layers / all : 0;
    const double a_layer = step_ms * share / static_cast<double>(sizes.layers);
    const double whole = a_layer * static_cast<double>(sizes.all_layers) + step_ms * (1 - share);
    if (json_)
      fmt::print("{}\n", nlohmann::json{{"phase", name},
                                        {"ms_a_layer", a_layer},
                                        {"layers", sizes.all_layers},
                                        {"ms_all_layers", whole}}
                             .dump());
    else
      fmt::print("{:<8} {:.3f} ms a layer; {} layers would take {:.1f} ms; read {:.1f} GB/s\n\n",
                 name, a_layer, sizes.all_layers, whole, rates.read / 1e9);
  }

  /// Milliseconds of a plain step, of one that verifies a draft, and of the draft block.
  void drafts(double plain, double verify, double draft) const {
    if (json_)
      fmt::print(
          "{}\n",
          nlohmann::json{
              {"phase", "mtp"}, {"plain_ms", plain}, {"verify_ms", verify}, {"draft_ms", draft}}
              .dump());
    else
      fmt::print(
          "mtp      plain step {:.3f} ms, verifying a draft {:.3f} ms ({:.2f}), draft block "
          "{:.3f} ms\n",
          plain, verify, verify / plain, draft);
  }

 private:
  bool json_;
};

/// Milliseconds of step(), the median of `runs`: wall time with everything the host does. The first
/// one, which compiles, does not count; before each the model holds `position` positions.
template <class Step>
Result<double> time_steps(Model& model, int64_t position, int64_t runs, Step step) {
  std::vector<double> times;
  for (int64_t i = 0; i <= runs; ++i) {
    TESSERA_TRY(model.pretend(position));
    const auto start = std::chrono::steady_clock::now();
    TESSERA_TRY(step());
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - start;
    if (i > 0) times.push_back(taken.count());
  }
  std::ranges::sort(times);
  return times[times.size() / 2];
}

Result<void> measure(Model& model, const std::string& name, std::span<const Span> spans,
                     int64_t runs, const Sizes& sizes, const Report& report) {
  TESSERA_ASSIGN(const double step_ms,
                 time_steps(model, sizes.position, runs, [&] { return model.step(spans); }));
  TESSERA_TRY(model.pretend(sizes.position));
  TESSERA_ASSIGN(const auto times, model.profile(spans, static_cast<int>(runs)));
  report.phase(name, times, sizes, step_ms);
  return {};
}

/// A step that verifies one draft beside a plain one, and the draft block itself.
Result<void> measure_drafts(Model& model, std::span<const int32_t> tokens, const Sizes& sizes,
                            const Report& report) {
  const Span plain{0, sizes.position, tokens.first(1)};
  const Span both{0, sizes.position, tokens.first(2), true};
  const auto time = [&](const Span& span, bool drafts) {
    return time_steps(model, sizes.position, sizes.decode, [&]() -> Result<void> {
      TESSERA_TRY(model.step({&span, 1}));
      if (drafts) TESSERA_TRY(model.draft({&plain, 1}));
      return {};
    });
  };
  TESSERA_ASSIGN(const double alone, time(plain, false));
  TESSERA_ASSIGN(const double verify, time(both, false));
  TESSERA_ASSIGN(const double all, time(both, true));
  report.drafts(alone, verify, all - verify);
  return {};
}

Result<void> measure_phases(Model& model, const Config& config, const Sizes& sizes,
                            const ops::Ceilings& ceilings, Report& report) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < std::max({sizes.prefill, sizes.batch, int64_t{2}}); ++i)
    tokens.push_back(static_cast<int32_t>(i * 977 % config.vocab_size));
  const auto refresh = [&]() -> Result<void> {  // neighbours of this machine come and go
    report.rates.read = 0;
    for (int i = 0; i < 3; ++i) {
      TESSERA_ASSIGN(const double rate, ceilings.memory->read_rate());
      report.rates.read = std::max(report.rates.read, rate);
    }
    return {};
  };
  TESSERA_TRY(model.pretend(sizes.position));
  if (sizes.prefill > 0) {
    const Span prompt{0, sizes.position, std::span(tokens).first(sizes.prefill)};
    TESSERA_TRY(refresh());
    TESSERA_TRY(measure(model, "prefill", std::span(&prompt, 1), 3, sizes, report));
  }
  if (sizes.decode == 0) return {};
  std::vector<Span> spans;
  for (int64_t s = 0; s < sizes.batch; ++s)
    spans.push_back({static_cast<int32_t>(s), sizes.position, std::span(tokens).subspan(s, 1)});
  TESSERA_TRY(refresh());
  TESSERA_TRY(measure(model, "decode", spans, sizes.decode, sizes, report));
  if (sizes.mtp) TESSERA_TRY(measure_drafts(model, tokens, sizes, report));
  return {};
}

/// What the command prints, of the model that `load` makes.
Result<int> time_model(const Arguments& arguments, const Session& session, const Sizes& sizes,
                       const Config& config,
                       const std::function<Result<std::unique_ptr<Model>>()>& load) {
  TESSERA_ASSIGN(const auto model, load());
  TESSERA_ASSIGN(const ops::Ceilings ceilings, ops::measure_ceilings(*session.library));
  Report report(arguments.json());
  report.rates.read = ceilings.read_rate;
  TESSERA_ASSIGN(report.rates.product, product_rate(*session.library, ceilings));
  if (!arguments.json())
    fmt::print(
        "{}: read {:.1f} GB/s, gemm {:.3f} TFLOP/s (dot of bf16 {:.3f}); {} of {} layers\n\n",
        session.device->info().arch, report.rates.read / 1e9, report.rates.product / 1e12,
        ceilings.bf16_rate / 1e12, config.layers.size(), sizes.all_layers);
  TESSERA_TRY(measure_phases(*model, config, sizes, ceilings, report));
  return 0;
}

Result<int> run(const Arguments& arguments, const Program& program) {
  TESSERA_ASSIGN(const Config whole, chosen_config(arguments.text("config", "flash")));
  TESSERA_ASSIGN(const Sizes sizes, chosen_sizes(arguments, whole));
  if (!arguments.flag("random-weights"))
    return invalid_argument("bench model makes its weights: pass --random-weights");
  TESSERA_ASSIGN(const auto precision, chosen_precision(arguments, whole));
  TESSERA_ASSIGN(const auto experts, chosen_experts(arguments));
  Config config = model::deepseek_v4::shortened(whole, sizes.layers);
  if (sizes.mtp) config.draft_layers = whole.draft_layers;
  TESSERA_ASSIGN(const auto job, RankJob::join(arguments));
  Session session;
  auto opened = open_session(arguments, program);
  if (opened.ok()) session = std::move(*opened);
  TESSERA_TRY(job->meet(arguments, nullptr, session, opened.ok() ? nullptr : &opened.error()));
  const auto load = [&](const ModelOptions& options) {
    const auto weights = [&](model::deepseek_v4::Rank rank) {
      return std::make_shared<model::deepseek_v4::RandomWeights>(config, precision, *session.device,
                                                                 rank);
    };
    return Model::create(weights, config, *session.library, options, job->model_job());
  };
  if (!job->leads()) return job->follow(load);
  ModelOptions options{
      .precision = precision,
      .context = std::min(config.max_positions,
                          std::max<int64_t>(4096, sizes.position + sizes.prefill + 128)),
      .sequences = sizes.batch,
      .largest_step = std::max({sizes.prefill, sizes.batch, int64_t{2}}),
      .deterministic = arguments.flag("deterministic"),
      .mtp = sizes.mtp};
  options.rank.experts = experts;
  return job->finish(time_model(arguments, session, sizes, config, [&] { return load(options); }));
}

}  // namespace

CommandSpec bench_model_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "bench model",
      .summary = "Time prefill and decode at a model's real widths, part by part",
      .details =
          "Weights are random numbers in anonymous memory; few layers hold both compressed kinds.\n"
          "A part's share is the least time its bytes and products need at the rates of the same "
          "run:\n"
          "a read of memory, and our own FP8 product of 512 rows.\n"
          "With --json: one line a part.",
      .positionals = {},
      .options = {kChipOption,
                  {"--config", Kind::kText, "NAME", "flash (default), pro, or a config.json"},
                  {"--layers", Kind::kNumber, "N", "Layers to run (default 4)"},
                  {"--random-weights", Kind::kFlag, "", "Make the weights"},
                  {"--precision", Kind::kText, "P", "native (default), fp8, bf16 or fp32"},
                  {"--prefill", Kind::kNumber, "N", "Tokens of a prompt step (default 512)"},
                  {"--decode", Kind::kNumber, "N", "Decode steps to time (default 16)"},
                  {"--batch", Kind::kNumber, "N", "Sequences of a decode step (default 1)"},
                  {"--at-position", Kind::kNumber, "P", "Positions held before (default 0)"},
                  {"--deterministic", Kind::kFlag, "",
                   "Sum every row alike, whatever is beside it"},
                  kTpOption,
                  kExpertsOption,
                  kPatienceOption,
                  {"--mtp", Kind::kFlag, "", "Time the verification of a draft and its block too"},
                  kThreadsOption,
                  kPackOption,
                  kTuningOption},
      .run = run};
}

}  // namespace tessera::cli
