// SPDX-License-Identifier: Apache-2.0
// What an operator header provides, and the type-erased form that tests, benchmarks, the
// documentation and the command line iterate over. One header tessera/ops/<family>/<name>.h defines
// one struct:
//
//   struct RmsNorm {
//     static Signature signature();
//     static void plan(PlanBuilder& b);                     // kernels, in the tile language
//     static void reference(const Reference& r);            // plain double loops, independent of
//     plan() static std::vector<Case> cases();                     // tests, benchmarks and fuzz
//     seeds static Tolerance tolerance(const Problem& p); static Cost cost(const Problem& p); //
//     roofline: least bytes, flops
//     // Where the default inputs (normal floats, scales near 1) do not fit:
//     static void fill(Inputs& in);
//     // Where element-wise comparison does not fit (sets of indices):
//     static std::string check(const Check& c);             // empty: right; else what is wrong
//   };
//
// The struct's name is the file's name in CamelCase; the build writes one translation unit a header
// and the table all_operators().
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/ops/frame/host_tensor.h"
#include "tessera/ops/frame/plan.h"
#include "tessera/ops/frame/problem.h"
#include "tessera/ops/frame/signature.h"

namespace tessera::ops {

/// One use to test or time. Large ones (benchmarks, long contexts) are skipped by the conformance
/// run.
struct Case {
  std::map<std::string, int64_t> dims;
  std::map<std::string, DType> dtypes = {};
  std::map<std::string, double> attributes = {};
  bool bench = false;  // timed by `ops bench`; not run as a test unless also `test`
  bool test = true;
  std::string note = {};  // what it is for: "zero row", "Flash wq_b"; fill() may branch on it
  uint64_t seed = 1;
  /// Of tensors that are not contiguous, in elements, one a dimension. Elements may overlap.
  std::map<std::string, std::vector<int64_t>> strides = {};
};

/// A benchmark case.
inline Case bench_case(std::map<std::string, int64_t> dims,
                       std::map<std::string, DType> dtypes = {},
                       std::map<std::string, double> attributes = {}, std::string note = {}) {
  return {std::move(dims), std::move(dtypes), std::move(attributes), true, false, std::move(note)};
}

/// Inputs of a case before fill(): floats normal(0, 1), weights normal / sqrt(last extent), e8m0
/// scales in 2^-4..2^4, integers 0. fill() replaces what does not fit.
class Inputs {
 public:
  Inputs(const Problem& problem, const Case& c);
  const Problem& problem() const { return problem_; }
  const Case& test_case() const { return case_; }
  std::mt19937_64& random() { return random_; }
  HostTensor& tensor(std::string_view name);
  double normal(double scale = 1);
  double uniform(double lo, double hi);
  int64_t integer(int64_t lo, int64_t hi);  // inclusive

 private:
  const Problem& problem_;
  const Case& case_;
  std::mt19937_64 random_;
  std::vector<HostTensor> tensors_;
  friend class CaseData;
};

/// Inputs and expected outputs of one reference run. in() of an inout tensor is its value before
/// the call.
class Reference {
 public:
  Reference(const Problem& problem, const std::vector<HostTensor>& inputs,
            std::vector<Expected>& outputs)
      : problem_(problem), inputs_(inputs), outputs_(outputs) {}
  const Problem& problem() const { return problem_; }
  int64_t dim(std::string_view name) const { return problem_.dim(name); }
  double attribute(std::string_view name) const { return problem_.attribute(name); }
  bool has(std::string_view name) const { return problem_.has(name); }
  const HostTensor& in(std::string_view name) const { return inputs_[problem_.tensor_index(name)]; }
  /// Every element of every output starts as "its input value" for inout and as "must be set" for
  /// out.
  Expected& out(std::string_view name) const { return outputs_[problem_.tensor_index(name)]; }

 private:
  const Problem& problem_;
  const std::vector<HostTensor>& inputs_;
  std::vector<Expected>& outputs_;
};

/// Inputs, expected and actual outputs for a custom comparison.
struct Check {
  const Problem& problem;
  const std::vector<HostTensor>& inputs;
  const std::vector<Expected>& expected;
  const std::vector<HostTensor>& actual;
  const HostTensor& in(std::string_view name) const { return inputs[problem.tensor_index(name)]; }
  const Expected& want(std::string_view name) const { return expected[problem.tensor_index(name)]; }
  const HostTensor& got(std::string_view name) const { return actual[problem.tensor_index(name)]; }
};

/// |actual - expected| <= absolute + relative * |expected| + scaled * magnitude, plus half a step
/// of the output dtype (the final rounding); integers must be equal. Infinities and NaN must match
/// exactly.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
  double scaled = 0;
  /// Share of elements that may be off by more, up to one step of the output dtype (codes of
  /// quantised outputs whose input was rounded differently). 0 for most.
  double one_step_share = 0;
};

struct Cost {
  double bytes_read = 0;
  double bytes_written = 0;
  double flops = 0;
};

struct Operator {
  const Signature* signature;
  void (*plan)(PlanBuilder&);
  void (*reference)(const Reference&);
  std::vector<Case> (*cases)();
  Tolerance (*tolerance)(const Problem&);
  Cost (*cost)(const Problem&);
  void (*fill)(Inputs&);               // may be null
  std::string (*check)(const Check&);  // may be null
};

template <class Op>
Operator make_operator() {
  static const Signature signature = Op::signature();
  Operator op{&signature,     &Op::plan, &Op::reference, &Op::cases,
              &Op::tolerance, &Op::cost, nullptr,        nullptr};
  if constexpr (requires(Inputs& in) { Op::fill(in); }) op.fill = &Op::fill;
  if constexpr (requires(const Check& c) { Op::check(c); }) op.check = &Op::check;
  return op;
}

/// The problem a case states. An error names what the case gets wrong.
Result<Problem> problem_of(const Operator& op, const Case& test_case);

/// Every operator of this build, sorted by family and name; generated from the folder.
std::span<const Operator> all_operators();
/// `not_found` lists near names.
Result<const Operator*> find_operator(std::string_view name);
/// Names matching a shell pattern ("*norm*").
std::vector<const Operator*> match_operators(std::string_view pattern);

}  // namespace tessera::ops
