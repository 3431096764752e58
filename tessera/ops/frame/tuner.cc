// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/compare.h"
#include "tessera/ops/frame/device_run.h"
#include "tessera/ops/frame/prepared.h"
#include "tessera/ops/frame/specialisation.h"

namespace tessera::ops {
namespace {

using runtime::Capabilities;

// Beyond these, results are compared with those of the untuned kernels: the reference takes long.
constexpr double kReferenceFlops = 1e9, kReferenceBytes = 64 << 20;
constexpr int kBenchRuns = 5, kDuels = 5;
constexpr uint8_t kPoison = 0xa5;
/// Candidates that leave a larger share of the compute units idle than the untuned plan by this
/// factor are not tried.
constexpr double kIdleFactor = 1.5;

/// What tells candidates apart: kernels, grids, workspace.
std::string fingerprint(const Plan& plan, std::span<const lang::Trace> traces) {
  std::string text = fmt::format("{}", plan.workspace_bytes);
  for (size_t i = 0; i < traces.size(); ++i)
    text += fmt::format(" {} {}x{}x{}", traces[i].hash().hex(), plan.calls[i].grid[0],
                        plan.calls[i].grid[1], plan.calls[i].grid[2]);
  return text;
}

/// How much longer the longest-waiting call takes than if its programs filled all units evenly.
double idleness(const Plan& plan, int units) {
  double worst = 1;
  for (const KernelCall& call : plan.calls) {
    const double programs = static_cast<double>(call.grid[0]) * static_cast<double>(call.grid[1]) *
                            static_cast<double>(call.grid[2]);
    worst = std::max(worst, std::ceil(programs / units) * units / programs);
  }
  return worst;
}

/// Puts the device's tuning back.
class DeviceTuning {
 public:
  explicit DeviceTuning(runtime::Device& device) : device_(device), before_(device.tuning()) {}
  ~DeviceTuning() { device_.use_tuning(before_); }

  void use(const std::string& use, const runtime::Hints& hints) {
    auto tuning = std::make_shared<runtime::Tuning>();
    const auto set = tuning->set(use, hints);
    TESSERA_CHECK(set.ok(), "hints of neighbours() are right");
    device_.use_tuning(std::move(tuning));
  }

 private:
  runtime::Device& device_;
  const std::shared_ptr<const runtime::Tuning> before_;
};

class Search {
 public:
  Search(kernels::KernelLibrary& library, const Operator& op, const CaseData& data,
         const TuneOptions& options)
      : library_(library),
        op_(op),
        data_(data),
        options_(options),
        plan_{.deterministic = options.deterministic},
        base_(library.device().info().capabilities),
        tuning_(library.device()) {
    base_.tuning = nullptr;
    report_.winner.arch = library.device().info().arch;
    report_.winner.use = specialisation(op, data.problem(), plan_);
  }

  Result<TuneReport> run() {
    use(base_);
    TESSERA_TRY(expect());
    TESSERA_ASSIGN(const Plan plan, seen(base_));
    least_idle_ = idleness(plan, units());
    TESSERA_ASSIGN(const double untuned, seconds());
    Capabilities best = base_;
    double least = untuned;
    for (int round = 0; round < options_.rounds; ++round) {
      const Capabilities start = best;
      for (const Capabilities& candidate : neighbours(start)) {
        const std::optional<double> taken = tried(candidate);
        if (!taken || *taken >= least) continue;
        least = *taken;
        best = candidate;
      }
      if (difference(start, best).empty()) break;
    }
    TESSERA_TRY(duel(best));
    return report_;
  }

 private:
  int units() const { return std::max(1, library_.device().info().compute_units); }
  void use(const Capabilities& candidate) {
    tuning_.use(report_.winner.use, difference(base_, candidate));
  }
  Result<double> seconds() {
    const BenchOptions options{.min_seconds = options_.min_seconds,
                               .runs = kBenchRuns,
                               .rotate_bytes = options_.rotate_bytes,
                               .deterministic = options_.deterministic};
    TESSERA_ASSIGN(const BenchResult result, run_bench(library_, op_, data_, {}, options));
    return result.seconds;
  }
  Result<std::vector<HostTensor>> outputs() {
    return run_once(library_, op_, data_.problem(), data_.inputs(), plan_, kPoison);
  }

  /// Results of the untuned kernels, where there is no reference. A sum is compared at the size of
  /// the largest element: its own may have cancelled.
  Result<void> expect() {
    if (!data_.expected().empty()) {
      expected_ = data_.expected();
      return {};
    }
    TESSERA_ASSIGN(const auto untuned, outputs());
    for (size_t i = 0; i < untuned.size(); ++i) {
      const bool written = op_.signature->tensors[i].access != Access::kRead;
      const auto& desc = data_.problem().tensors()[i];
      Expected& expected =
          expected_.emplace_back(desc && written ? *desc : TensorDesc{.shape = {0}});
      if (!desc || !written) continue;
      double largest = 0;
      for (int64_t e = 0; e < untuned[i].numel(); ++e)
        if (const double value = std::abs(untuned[i].flat(e)); std::isfinite(value))
          largest = std::max(largest, value);
      for (int64_t e = 0; e < untuned[i].numel(); ++e)
        expected.set_flat(e, untuned[i].flat(e), largest);
    }
    return {};
  }

  /// The plan of a candidate that was not seen before; `not_found` for one that was.
  Result<Plan> seen(const Capabilities& candidate) {
    Plan plan = make_plan(op_, data_.problem(), candidate, plan_);
    TESSERA_ASSIGN(const auto traces, trace_plan(plan));
    if (!seen_.insert(fingerprint(plan, traces)).second) return not_found("the same kernels");
    return plan;
  }

  /// Seconds of a candidate worth a measurement that gives right results.
  std::optional<double> tried(const Capabilities& candidate) {
    const auto plan = seen(candidate);
    if (!plan.ok()) return std::nullopt;
    if (idleness(*plan, units()) > kIdleFactor * least_idle_) {
      ++report_.idle;
      return std::nullopt;
    }
    use(candidate);
    const auto result = outputs();
    if (!result.ok()) {
      ++report_.failed;
      return std::nullopt;
    }
    const Comparison comparison =
        compare_outputs(op_, data_.problem(), data_.inputs(), expected_, *result);
    if (!comparison.wrong.empty()) {
      if (report_.wrong++ == 0) report_.mistake = comparison.wrong;
      return std::nullopt;
    }
    const auto taken = seconds();
    if (!taken.ok()) {
      ++report_.failed;
      return std::nullopt;
    }
    ++report_.timed;
    return *taken;
  }

  /// Untuned and best kernels in turn: medians decide, since the machine may have changed
  /// meanwhile.
  Result<void> duel(const Capabilities& best) {
    std::vector<double> untuned, tuned;
    const bool changed = !difference(base_, best).empty();
    for (int i = 0; i < (changed ? kDuels : 1); ++i) {
      use(base_);
      TESSERA_ASSIGN(untuned.emplace_back(), seconds());
      use(best);
      TESSERA_ASSIGN(tuned.emplace_back(), seconds());
    }
    const auto median = [](std::vector<double>& values) {
      std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
      return values[values.size() / 2];
    };
    Winner& winner = report_.winner;
    winner.untuned_seconds = winner.seconds = median(untuned);
    const double least = median(tuned);
    if (!changed || least > (1 - kLeastGain) * winner.untuned_seconds) return {};
    winner.seconds = least;
    winner.hints = difference(base_, best);
    return {};
  }

  kernels::KernelLibrary& library_;
  const Operator& op_;
  const CaseData& data_;
  const TuneOptions& options_;
  const PlanOptions plan_;
  Capabilities base_;
  DeviceTuning tuning_;
  std::vector<Expected> expected_;
  std::set<std::string> seen_;
  double least_idle_ = 1;
  TuneReport report_;
};

bool reference_is_quick(const Operator& op, const Problem& problem) {
  const Cost cost = op.cost(problem);
  return cost.flops <= kReferenceFlops && cost.bytes_read + cost.bytes_written <= kReferenceBytes;
}

}  // namespace

Result<TuneReport> tune(kernels::KernelLibrary& library, const Operator& op, const Case& test_case,
                        const TuneOptions& options) {
  TESSERA_ASSIGN(const Problem problem, problem_of(op, test_case));
  const auto content = reference_is_quick(op, problem) ? CaseData::Content::kInputsAndReference
                                                       : CaseData::Content::kInputs;
  TESSERA_ASSIGN(const CaseData data, CaseData::make(op, test_case, content));
  return Search(library, op, data, options).run();
}

Result<std::vector<lang::Trace>> candidate_traces(const Operator& op, const Problem& problem,
                                                  const Capabilities& capabilities,
                                                  const TuneOptions& options) {
  const PlanOptions plan{.deterministic = options.deterministic};
  Capabilities base = capabilities;
  base.tuning = nullptr;
  std::vector<Capabilities> candidates = neighbours(base);
  candidates.push_back(base);
  std::vector<lang::Trace> all;
  for (const Capabilities& candidate : candidates) {
    TESSERA_ASSIGN(auto traces, trace_plan(make_plan(op, problem, candidate, plan)));
    std::move(traces.begin(), traces.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace tessera::ops
