// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/conformance.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "tessera/base/cpu_topology.h"
#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/case_run.h"
#include "tessera/ops/frame/crash_note.h"
#include "tessera/ops/frame/prepared.h"

namespace tessera::ops {
namespace {

using Status = OperatorReport::Status;

struct Job {
  OperatorReport* report;
  size_t index;  // of the case in its report
  Case test_case;
};

const runtime::KnownFailure* known_failure(std::span<const runtime::KnownFailure> list,
                                           std::string_view name) {
  const std::string test = fmt::format("Op.{}", name);
  for (const runtime::KnownFailure& entry : list) {
    const bool prefix = entry.test.ends_with('*');
    if (prefix ? test.starts_with(entry.test.substr(0, entry.test.size() - 1)) : entry.test == test)
      return &entry;
  }
  return nullptr;
}

bool uses(const Operator& op, const Case& test_case, DType dtype) {
  const auto problem = problem_of(op, test_case);
  if (!problem.ok()) return true;  // reported when it runs
  return std::any_of(problem->tensors().begin(), problem->tensors().end(),
                     [&](const auto& desc) { return desc && desc->dtype == dtype; });
}

class Run {
 public:
  Run(kernels::KernelLibrary& library, const ConformanceOptions& options)
      : library_(library), options_(options) {
    plan_.deterministic = options.deterministic;
    threads_ = options.threads > 0 ? options.threads : CpuTopology::get().usable_cores();
  }

  std::vector<OperatorReport> run(std::span<const Operator* const> operators) {
    std::vector<OperatorReport> reports(operators.size());
    for (size_t i = 0; i < operators.size(); ++i) collect(*operators[i], reports[i]);
    compile();
    progress("testing", 0, jobs_.size());
    std::atomic<size_t> done{0};
    parallel(jobs_.size(), [&](size_t i) {
      const Job& job = jobs_[i];
      job.report->cases[job.index] = run_one(*job.report->op, job.test_case);
      progress("testing", ++done, jobs_.size());
    });
    for (OperatorReport& report : reports) judge(report);
    return reports;
  }

 private:
  bool filtered() const { return options_.dtype || !options_.case_filter.empty(); }

  void collect(const Operator& op, OperatorReport& report) {
    report.op = &op;
    if (const auto* known = known_failure(options_.known_failures, op.signature->name)) {
      report.reason = known->reason;
      report.status = known->never_run ? Status::kNotRun : Status::kKnownFailure;
      if (known->never_run) return;
    }
    for (const Case& test_case : op.cases()) {
      if (!test_case.test || (options_.dtype && !uses(op, test_case, *options_.dtype))) continue;
      if (case_text(op, test_case).find(options_.case_filter) == std::string::npos) continue;
      jobs_.push_back({&report, report.cases.size(), test_case});
      report.cases.emplace_back();
    }
  }

  /// Fetches the kernels of all cases; errors come up again when the case asks for its own.
  void compile() {
    std::vector<lang::Trace> traces;
    for (const Job& job : jobs_) {
      const auto problem = problem_of(*job.report->op, job.test_case);
      if (!problem.ok()) continue;
      auto traced = trace_plan(
          make_plan(*job.report->op, *problem, library_.device().info().capabilities, plan_));
      if (traced.ok()) std::move(traced->begin(), traced->end(), std::back_inserter(traces));
    }
    progress("compiling", 0, traces.size());
    std::atomic<size_t> done{0};
    parallel(traces.size(), [&](size_t i) {
      const CrashNote note("compiling", traces[i].name);
      (void)library_.get(traces[i]);
      progress("compiling", ++done, traces.size());
    });
  }

  CaseReport run_one(const Operator& op, const Case& test_case) {
    CaseReport report;
    report.text = case_text(op, test_case);
    const CrashNote note("running", op.signature->name + " " + report.text);
    auto result = run_case(library_, op, test_case, plan_);
    if (result.ok()) {
      report.wrong = std::move(result->wrong);
      report.worst = result->worst;
    } else {
      report.wrong = result.error().to_string();
    }
    return report;
  }

  void judge(OperatorReport& report) const {
    if (report.status == Status::kNotRun) return;
    const bool failed = std::any_of(report.cases.begin(), report.cases.end(),
                                    [](const CaseReport& c) { return !c.wrong.empty(); });
    if (report.cases.empty())
      report.status = Status::kNoCases;
    else if (report.status == Status::kKnownFailure)
      report.status = failed || filtered() ? Status::kKnownFailure : Status::kStale;
    else
      report.status = failed ? Status::kFailed : Status::kPassed;
  }

  template <class Body>
  void parallel(size_t count, const Body& body) const {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i; (i = next.fetch_add(1)) < count;) body(i);
    };
    std::vector<std::thread> threads;
    for (size_t i = 1; i < std::min(count, static_cast<size_t>(threads_)); ++i)
      threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
  }

  void progress(std::string_view what, size_t done, size_t total) {
    if (!options_.progress) return;
    std::lock_guard lock(progress_mutex_);
    options_.progress(what, done, total);
  }

  kernels::KernelLibrary& library_;
  const ConformanceOptions& options_;
  PlanOptions plan_;
  int threads_ = 1;
  std::vector<Job> jobs_;
  std::mutex progress_mutex_;
};

}  // namespace

double OperatorReport::worst() const {
  double worst = 0;
  for (const CaseReport& c : cases) worst = std::max(worst, c.worst);
  return worst;
}

std::vector<OperatorReport> run_conformance(kernels::KernelLibrary& library,
                                            std::span<const Operator* const> operators,
                                            const ConformanceOptions& options) {
  return Run(library, options).run(operators);
}

}  // namespace tessera::ops
