// SPDX-License-Identifier: Apache-2.0
// A model against another implementation's numbers, or against its own fp32 on the CPU.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "tessera/base/memory_limit.h"
#include "tessera/base/parallel.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/loaded_model.h"
#include "tessera/cli/planned_memory.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/session.h"
#include "tessera/cli/verification_text.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/model.h"
#include "tessera/model/deepseek_v4/tensor_names.h"
#include "tessera/model/deepseek_v4/verification/verification.h"

namespace tessera::cli {
namespace {

using namespace model::deepseek_v4;
using checkpoint::Checkpoint;
using nlohmann::json;

// Without vectors: prompts that reach into the window, across it and into compressed entries.
constexpr int64_t kMadeLengths[] = {1, 3, 33, 130};
constexpr int64_t kMadeSteps = 16;
constexpr int64_t kLargestStep = 512;

/// A prompt and two steps after it. Any token will do for the steps.
Result<> compare_steps(AgainstReference& against, const Prompt& prompt, int64_t largest) {
  const int64_t length = prompt.length();
  const std::span<const int32_t> ids = prompt.ids;
  for (int64_t first = 0; first < length; first += largest) {
    const auto count = static_cast<size_t>(std::min(largest, length - first));
    TESSERA_TRY(against.step({0, first, ids.subspan(static_cast<size_t>(first), count)}));
  }
  for (int64_t step = 0; step < 2; ++step)
    TESSERA_TRY(against.step({0, length + step, ids.first(1)}));
  return {};
}

class Verifier {
 public:
  Verifier(const Arguments& arguments, const Program& program, RankJob& job)
      : arguments_(arguments),
        program_(program),
        job_(job),
        chip_(arguments.text("chip", kDefaultChip)),
        bar_(job.leads()) {}

  /// Opens and checks what the command line names.
  Result<> open();
  /// Of rank 0 and of the others, after open().
  Result<std::vector<Verification>> run();
  Result<int> follow();
  /// Every precision operator by operator, with --against: 1 when one departs.
  Result<int> run_against();
  /// Of every rank: whether all could open what they need; `opened` is of this one.
  Result<> meet(const Result<>& opened) {
    return job_.meet(arguments_, checkpoint_.get(), session_,
                     opened.ok() ? nullptr : &opened.error());
  }
  const std::string& chip() const { return chip_; }

 private:
  Result<std::vector<Precision>> precisions() const;
  Result<std::vector<Prompt>> expected(Precision precision) const;
  Result<std::unique_ptr<Model>> load(Session& session, Precision precision,
                                      std::span<const Prompt> prompts, const Job& job);
  Result<> fill(std::vector<Prompt>& prompts);
  Result<ModelOptions> options_for(Precision precision, std::span<const Prompt> prompts) const;
  Result<bool> runs_at_once() const;
  Result<Verification> verify_one(Session& session, size_t i);

  const Arguments& arguments_;
  const Program& program_;
  RankJob& job_;
  const std::string chip_;
  std::vector<Precision> precisions_;
  std::vector<std::vector<Prompt>> prompts_;  // of each precision
  Config config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::optional<Checkpoint> golden_, layers_;
  Session session_;
  std::mutex bar_mutex_;  // guards bar_
  ProgressBar bar_;
};

Result<std::vector<Precision>> Verifier::precisions() const {
  if (!arguments_.has("precision")) {
    std::vector<Precision> found;
    if (golden_ ? has_numbers(*golden_, Numbers::fp32) : chip_ != kDefaultChip || job_.ranks() > 1)
      found.push_back(Precision::fp32);
    const Precision own = default_precision(config_);
    if (!golden_ || has_numbers(*golden_, numbers_for(own))) found.push_back(own);
    if (!found.empty()) return found;
    return not_found(
        fmt::format("{}: no tensor prompt_L.fp32.logits or prompt_L.native.last_logits",
                    arguments_.text("golden")));
  }
  TESSERA_ASSIGN(const Precision precision, chosen_precision(arguments_, config_));
  if (!golden_ && precision == Precision::fp32 && chip_ == kDefaultChip && job_.ranks() == 1)
    return invalid_argument(
        "fp32 on the CPU is what others are compared with; give --golden, or another --precision "
        "or --chip");
  return std::vector{precision};
}

Result<> Verifier::open() {
  if (arguments_.has("layers") && !arguments_.has("golden"))
    return invalid_argument("--layers needs --golden, whose prompts it is about");
  if (arguments_.has("against") && job_.ranks() > 1)
    return invalid_argument("--against compares two chips of one rank; leave --tp out");
  TESSERA_ASSIGN(const auto folder, model_folder(arguments_.text("MODEL")));
  TESSERA_ASSIGN(config_, load_config(folder));
  TESSERA_TRY(check_ranks(config_, job_.ranks()));
  TESSERA_ASSIGN(auto checkpoint, open_checkpoint(folder, Shards(config_, job_.rank({}))));
  checkpoint_ = std::make_shared<const Checkpoint>(std::move(checkpoint));
  if (arguments_.has("golden")) {
    TESSERA_ASSIGN(golden_, Checkpoint::open(arguments_.text("golden")));
  }
  TESSERA_ASSIGN(precisions_, precisions());
  if (arguments_.has("layers")) {
    TESSERA_ASSIGN(layers_, Checkpoint::open(arguments_.text("layers")));
    if (std::ranges::find(precisions_, Precision::native) == precisions_.end())
      return invalid_argument(
          "--layers is about the native precision; leave it out, or give "
          "--precision native");
  }
  for (const Precision precision : precisions_) {
    TESSERA_ASSIGN(prompts_.emplace_back(), expected(precision));
  }
  TESSERA_ASSIGN(session_, open_session(arguments_, program_));
  return {};
}

Result<std::vector<Prompt>> Verifier::expected(Precision precision) const {
  if (golden_) {
    TESSERA_ASSIGN(
        auto read,
        read_prompts(*golden_, numbers_for(precision), config_).context(arguments_.text("golden")));
    if (layers_ && precision == Precision::native)
      TESSERA_TRY(read_traces(*layers_, config_, read).context(arguments_.text("layers")));
    return read;
  }
  std::vector<int64_t> lengths;
  for (const int64_t length : kMadeLengths)
    if (length + kMadeSteps <= config_.max_positions) lengths.push_back(length);
  if (lengths.empty())
    return unsupported(fmt::format("this model has {} positions, fewer than a prompt and {} steps",
                                   config_.max_positions, kMadeSteps));
  return made_prompts(lengths, config_);
}

Result<ModelOptions> Verifier::options_for(Precision precision,
                                           std::span<const Prompt> prompts) const {
  ModelOptions options{.precision = precision, .context = 0, .largest_step = 0};
  for (const Prompt& prompt : prompts) {
    options.context = std::max({options.context, prompt.positions(), prompt.length() + kMadeSteps});
    options.largest_step = std::max(options.largest_step, std::min(prompt.length(), kLargestStep));
    options.mtp |= !prompt.draft.empty();
  }
  TESSERA_ASSIGN(options.rank.experts, chosen_experts(arguments_));
  options.context = std::min(options.context, config_.max_positions);
  return options;
}

Result<std::unique_ptr<Model>> Verifier::load(Session& session, Precision precision,
                                              std::span<const Prompt> prompts, const Job& job) {
  TESSERA_ASSIGN(const ModelOptions options, options_for(precision, prompts));
  return Model::load(checkpoint_, config_, *session.library, options, job);
}

/// The prompts' numbers from fp32 on the CPU, by one rank alone.
Result<> Verifier::fill(std::vector<Prompt>& prompts) {
  Session reference;
  if (chip_ != kDefaultChip) {
    Arguments arguments = arguments_;
    arguments.add("chip", {kDefaultChip});
    TESSERA_ASSIGN(reference, open_session(arguments, program_));
  }
  Session& session = reference.device ? reference : session_;
  TESSERA_ASSIGN(const auto model, load(session, Precision::fp32, prompts, {}));
  ModelSubject subject(*model);
  for (size_t i = 0; i < prompts.size(); ++i) {
    bar_.update("fp32 on the CPU: " + prompts[i].name, i, prompts.size());
    TESSERA_TRY(fill_prompt(subject, prompts[i], kMadeSteps));
  }
  return {};
}

/// Whether one precision's kernels are compiled while another's run. A chip that computes on the
/// host's cores gains nothing by that; elsewhere all models must have room beside each other.
Result<bool> Verifier::runs_at_once() const {
  const runtime::Device& device = *session_.device;
  if (job_.ranks() > 1 || device.info().chip == kDefaultChip) return false;
  const auto weights = expand_weights(config_, config_.draft_layers);
  const auto available = static_cast<uint64_t>(std::max<int64_t>(0, MemoryLimit::read().available));
  uint64_t bytes = 0;
  for (size_t i = 0; i < precisions_.size(); ++i) {
    TESSERA_ASSIGN(const ModelOptions options, options_for(precisions_[i], prompts_[i]));
    MemoryPlan plan = plan_weights(weights, config_, /*ranks=*/1, weight_use(options));
    TESSERA_ASSIGN(plan.working, working_memory(config_, device.info(), /*on_host=*/true, options));
    bytes += plan.all();
  }
  return bytes <= std::min(available, device.memory_free());
}

Result<Verification> Verifier::verify_one(Session& session, size_t i) {
  const Precision precision = precisions_[i];
  TESSERA_ASSIGN(const auto model, load(session, precision, prompts_[i], job_.model_job()));
  ModelSubject subject(*model);
  const auto progress = [&](std::string_view what, size_t done, size_t total) {
    std::lock_guard lock(bar_mutex_);
    bar_.update(fmt::format("{}: {}", name(precision), what), done, total);
  };
  return verify(subject, precision, golden_ ? numbers_for(precision) : Numbers::fp32, prompts_[i],
                progress);
}

Result<std::vector<Verification>> Verifier::run() {
  if (!golden_) {
    TESSERA_TRY(fill(prompts_[0]).context("the reference"));
    std::ranges::fill(prompts_, std::vector(prompts_[0]));
  }
  const size_t count = precisions_.size();
  TESSERA_ASSIGN(const bool at_once, runs_at_once());
  std::vector<Session> others(at_once ? count - 1 : 0);
  for (Session& other : others) {
    TESSERA_ASSIGN(other, open_session(arguments_, program_));
  }
  std::vector<std::optional<Result<Verification>>> results(count);
  for_each_parallel(count, static_cast<int>(1 + others.size()), [&](size_t i) {
    results[i] = verify_one(i == 0 || !at_once ? session_ : others[i - 1], i);
  });
  bar_.clear();
  std::vector<Verification> all;
  for (auto& result : results) {
    TESSERA_ASSIGN(all.emplace_back(), *std::move(result));
  }
  return all;
}

Result<int> Verifier::run_against() {
  Arguments arguments = arguments_;
  arguments.add("chip", {arguments_.text("against")});
  TESSERA_ASSIGN(Session other, open_session(arguments, program_));
  json runs = json::array();
  bool departs = false;
  for (size_t i = 0; i < precisions_.size(); ++i) {
    const std::string_view precision = name(precisions_[i]);
    TESSERA_ASSIGN(const auto model, load(session_, precisions_[i], prompts_[i], {}));
    TESSERA_ASSIGN(const auto reference, load(other, precisions_[i], prompts_[i], {}));
    AgainstReference against(*model, *reference);
    for (size_t j = 0; j < prompts_[i].size(); ++j) {
      const Prompt& prompt = prompts_[i][j];
      bar_.update(fmt::format("{}: {}", precision, prompt.name), j, prompts_[i].size());
      TESSERA_TRY(
          compare_steps(against, prompt, model->options().largest_step).context(prompt.name));
    }
    bar_.clear();
    departs |= !against.first_part().empty();
    runs.push_back({{"precision", precision}, {"outputs", difference_json(against)}});
    if (!arguments_.json())
      fmt::print("{} on {} against {}, each operator given the same inputs\n{}\n", precision, chip_,
                 arguments_.text("against"), difference_text(against));
  }
  if (arguments_.json())
    fmt::print("{}\n", json({{"model", arguments_.text("MODEL")},
                             {"chip", chip_},
                             {"against", arguments_.text("against")},
                             {"runs", runs},
                             {"passed", !departs}})
                           .dump());
  return departs ? 1 : 0;
}

Result<int> Verifier::follow() {
  return job_.follow([&](const ModelOptions& options) {
    return Model::load(checkpoint_, config_, *session_.library, options, job_.model_job());
  });
}

Result<int> report(const Arguments& arguments, Verifier& verifier,
                   std::chrono::steady_clock::time_point start) {
  if (arguments.has("against")) return verifier.run_against();
  TESSERA_ASSIGN(const auto all, verifier.run());
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const bool passed = std::ranges::all_of(all, &Verification::passed);
  if (arguments.json()) {
    json runs = json::array();
    for (const Verification& verification : all) runs.push_back(verification_json(verification));
    fmt::print("{}\n", json({{"model", arguments.text("MODEL")},
                             {"chip", verifier.chip()},
                             {"runs", runs},
                             {"seconds", elapsed.count()},
                             {"passed", passed}})
                           .dump());
    return passed ? 0 : 1;
  }
  for (const Verification& verification : all) fmt::print("{}\n", verification_text(verification));
  fmt::print("{} on {}: {} in {:.1f} s\n", arguments.text("MODEL"), verifier.chip(),
             passed ? "passed" : "FAILED", elapsed.count());
  return passed ? 0 : 1;
}

Result<int> run(const Arguments& arguments, const Program& program) {
  const auto start = std::chrono::steady_clock::now();
  TESSERA_ASSIGN(const auto job, RankJob::join(arguments));
  Verifier verifier(arguments, program, *job);
  TESSERA_TRY(verifier.meet(verifier.open()));
  if (!job->leads()) return verifier.follow();
  return job->finish(report(arguments, verifier, start));
}

}  // namespace

CommandSpec verify_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "verify",
      .summary = "Compare a model with another implementation's numbers",
      .details =
          "--golden is a safetensors file with prompts and the logits expected for them, --layers "
          "one with\n"
          "residual streams, to compare single layers; docs/model.md says what they hold. fp32 and "
          "bf16 are\n"
          "compared with the file's fp32 numbers, native and fp8 with its native ones. Without "
          "--golden the\n"
          "model's own fp32 on the CPU is what made-up prompts should give.\n"
          "--against runs every operator on both chips with the second one's inputs, and shows the "
          "first layer\n"
          "that departs.\n"
          "Exit code 1 when a limit is missed.\n"
          "Example: tessera verify DIR --golden golden.safetensors --layers layers.safetensors",
      .positionals = {kModelPositional},
      .options = {{"--golden", Kind::kText, "FILE", "Prompts and their logits"},
                  {"--layers", Kind::kText, "FILE", "Residual streams of these prompts"},
                  {"--against", Kind::kText, "CHIP",
                   "Compare operator by operator with this chip, each on the same inputs"},
                  {"--precision", Kind::kText, "P",
                   "native, fp8, bf16 or fp32 (default: fp32 and native, as the file has them)"},
                  kTpOption,
                  kExpertsOption,
                  kPatienceOption,
                  kChipOption,
                  kThreadsOption,
                  kPackOption,
                  kTuningOption},
      .run = run};
}

}  // namespace tessera::cli
