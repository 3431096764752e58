// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/same_bits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "tessera/ops/frame/case_data.h"
#include "tessera/ops/frame/compare.h"
#include "tessera/ops/frame/crash_note.h"
#include "tessera/ops/frame/device_run.h"

namespace tessera::ops {
namespace {

constexpr std::string_view kRowDim = "T";
constexpr int64_t kRows = 64;  // one order of sums with PlanOptions::deterministic
constexpr std::array<int64_t, 3> kAlone = {0, 37, kRows - 1};
constexpr uint8_t kPoison = 0xa5;
/// Sixty-four rows of a case may need more memory than its own few.
constexpr size_t kMaxBytes = size_t{256} << 20;

/// The first element that differs, given equal shapes.
std::string difference(std::string_view name, const HostTensor& a, const HostTensor& b,
                       std::string_view of_a, std::string_view of_b) {
  if (a.bytes() == b.bytes()) return {};
  for (int64_t e = 0; e < a.numel(); ++e) {
    const double x = a.flat(e), y = b.flat(e);
    if (std::memcmp(&x, &y, sizeof x) != 0)
      return fmt::format("{} is {} {}, {} {}", element_name(name, a.desc().shape, e),
                         number_text(x), of_a, number_text(y), of_b);
  }
  return fmt::format("{}: padding differs", name);
}

/// Leading dimension T.
bool has_rows(const TensorSpec& spec) {
  return spec.dims == kRowDim || spec.dims.starts_with(fmt::format("{},", kRowDim));
}

bool writes_rows(const Operator& op) {
  return std::any_of(
      op.signature->tensors.begin(), op.signature->tensors.end(),
      [](const TensorSpec& spec) { return spec.access != Access::kRead && has_rows(spec); });
}

/// An optional integer for each row (its position) was left out: the row's number takes its place,
/// so a row alone is another row.
bool rows_are_numbered(const Operator& op, const Problem& problem) {
  for (size_t i = 0; i < problem.tensors().size(); ++i) {
    const TensorSpec& spec = op.signature->tensors[i];
    if (spec.optional && spec.dims == kRowDim && is_int(spec.dtypes[0]) && !problem.tensors()[i])
      return true;
  }
  return false;
}

/// Row `row` of a contiguous tensor as a tensor of one row.
HostTensor row_of(const HostTensor& tensor, int64_t row) {
  TensorDesc desc = tensor.desc();
  const auto bytes = static_cast<size_t>(size_in_bytes(desc.dtype, desc.shape.numel() / kRows));
  desc.shape[0] = 1;
  HostTensor one(desc);
  std::memcpy(one.bytes().data(), tensor.bytes().data() + static_cast<size_t>(row) * bytes, bytes);
  return one;
}

class SameBits {
 public:
  SameBits(kernels::KernelLibrary& one, kernels::KernelLibrary& many,
           const ConformanceOptions& options)
      : one_(one), many_(many), options_(options) {}

  OperatorReport run(const Operator& op) {
    OperatorReport report;
    report.op = &op;
    std::set<std::string> seen;
    for (const Case& test_case : op.cases()) {
      if (!test_case.test) continue;
      if (case_text(op, test_case).find(options_.case_filter) == std::string::npos) continue;
      add(report, "threads: ", op, test_case, [&] { return threads(op, test_case); });
      if (!writes_rows(op) || !test_case.dims.contains(std::string(kRowDim))) continue;
      Case rows = test_case;
      rows.dims[std::string(kRowDim)] = kRows;
      if (!can_be_apart(op, rows) || !seen.insert(case_text(op, rows)).second) continue;
      add(report, "row: ", op, rows, [&] { return row_alone(op, rows); });
    }
    const bool failed = std::any_of(report.cases.begin(), report.cases.end(),
                                    [](const CaseReport& c) { return !c.wrong.empty(); });
    report.status = failed ? OperatorReport::Status::kFailed : OperatorReport::Status::kPassed;
    if (report.cases.empty()) report.status = OperatorReport::Status::kNoCases;
    return report;
  }

 private:
  template <class Check>
  static void add(OperatorReport& report, std::string_view what, const Operator& op,
                  const Case& test_case, const Check& check) {
    CaseReport& entry = report.cases.emplace_back();
    entry.text = std::string(what) + case_text(op, test_case);
    const CrashNote note("running", op.signature->name + " " + entry.text);
    Result<std::string> wrong = check();
    entry.wrong = wrong.ok() ? std::move(wrong).value() : wrong.error().to_string();
  }

  static bool can_be_apart(const Operator& op, const Case& rows) {
    const auto problem = Problem::from_dims(*op.signature, rows.dims, rows.dtypes, rows.attributes);
    if (!problem.ok()) return true;  // reported when it runs
    size_t bytes = 0;
    for (const auto& desc : problem->tensors()) bytes += desc ? desc->bytes() : 0;
    return bytes <= kMaxBytes && !rows_are_numbered(op, *problem);
  }

  Result<std::string> threads(const Operator& op, const Case& test_case) {
    TESSERA_ASSIGN(const CaseData data, CaseData::make(op, test_case, CaseData::Content::kInputs));
    const PlanOptions plan = {.deterministic = options_.deterministic};
    TESSERA_ASSIGN(const auto a, run_once(one_, op, data.problem(), data.inputs(), plan, kPoison));
    TESSERA_ASSIGN(const auto b, run_once(many_, op, data.problem(), data.inputs(), plan, kPoison));
    for (size_t i = 0; i < a.size(); ++i) {
      const std::string wrong =
          difference(op.signature->tensors[i].name, a[i], b[i], "with one thread", "with several");
      if (!wrong.empty()) return wrong;
    }
    return std::string();
  }

  Result<std::string> row_alone(const Operator& op, const Case& rows) {
    const PlanOptions plan = {.deterministic = true};
    TESSERA_ASSIGN(const CaseData data, CaseData::make(op, rows, CaseData::Content::kInputs));
    TESSERA_ASSIGN(const auto all,
                   run_once(many_, op, data.problem(), data.inputs(), plan, kPoison));
    std::map<std::string, int64_t> dims = rows.dims;
    dims[std::string(kRowDim)] = 1;
    TESSERA_ASSIGN(const Problem single,
                   Problem::from_dims(*op.signature, dims, rows.dtypes, rows.attributes));
    for (int64_t row : kAlone) {
      std::vector<HostTensor> inputs;
      for (size_t i = 0; i < all.size(); ++i) {
        const HostTensor& whole = data.inputs()[i];
        const bool part = single.tensors()[i] && has_rows(op.signature->tensors[i]);
        inputs.push_back(part ? row_of(whole, row) : whole);
      }
      TESSERA_ASSIGN(const auto alone, run_once(many_, op, single, inputs, plan, kPoison));
      for (size_t i = 0; i < all.size(); ++i) {
        const TensorSpec& spec = op.signature->tensors[i];
        if (!single.tensors()[i] || spec.access == Access::kRead || !has_rows(spec)) continue;
        const std::string wrong = difference(spec.name, alone[i], row_of(all[i], row), "alone",
                                             fmt::format("as row {} of {}", row, kRows));
        if (!wrong.empty()) return wrong;
      }
    }
    return std::string();
  }

  kernels::KernelLibrary& one_;
  kernels::KernelLibrary& many_;
  const ConformanceOptions& options_;
};

}  // namespace

std::vector<OperatorReport> check_same_bits(kernels::KernelLibrary& one,
                                            kernels::KernelLibrary& many,
                                            std::span<const Operator* const> operators,
                                            const ConformanceOptions& options) {
  SameBits check(one, many, options);
  std::vector<OperatorReport> reports;
  for (const Operator* op : operators) {
    if (options.progress) options.progress("comparing", reports.size(), operators.size());
    reports.push_back(check.run(*op));
  }
  return reports;
}

}  // namespace tessera::ops
