// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/case_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "tessera/base/hash.h"

namespace tessera::ops {
namespace {

/// Larger tensors (benchmarks) repeat so many elements: drawing each one would take seconds.
constexpr int64_t kDrawn = int64_t{1} << 20;

/// Standard deviation of the default values of a weight. Values of narrow formats are scaled by
/// others, so theirs fill the format's range.
double weight_deviation(const TensorDesc& desc) {
  if (desc.dtype == DType::f4e2m1) return 2;
  if (desc.dtype == DType::f8e4m3 || desc.dtype == DType::f8e5m2) return 1;
  return desc.shape.rank() == 0
             ? 1
             : 1 / std::sqrt(std::max<double>(1, static_cast<double>(desc.shape[-1])));
}

template <class Draw>
void fill_with(HostTensor& tensor, Draw draw) {
  const int64_t total = tensor.numel();
  if (total <= 4 * kDrawn) {
    for (int64_t i = 0; i < total; ++i) tensor.set_flat(i, draw());
    return;
  }
  HostTensor drawn({tensor.dtype(), Shape{kDrawn}});
  for (int64_t i = 0; i < kDrawn; ++i) drawn.set_flat(i, draw());
  std::vector<std::byte>& bytes = tensor.bytes();
  const size_t block = drawn.bytes().size();
  for (size_t done = 0; done < bytes.size(); done += block)
    std::memcpy(bytes.data() + done, drawn.bytes().data(), std::min(block, bytes.size() - done));
}

uint64_t seed_of(const Problem& problem, const Case& test_case) {
  return Hasher()
      .add(problem.signature().name)
      .add(problem.to_string())
      .add(test_case.seed)
      .digest()
      .low;
}

}  // namespace

Inputs::Inputs(const Problem& problem, const Case& c)
    : problem_(problem), case_(c), random_(seed_of(problem, c)) {
  const auto& specs = problem.signature().tensors;
  for (size_t i = 0; i < specs.size(); ++i) {
    const auto& desc = problem.tensors()[i];
    if (!desc) {
      tensors_.emplace_back(TensorDesc{.shape = {0}});
      continue;
    }
    HostTensor& tensor = tensors_.emplace_back(*desc);
    if (specs[i].access == Access::kWrite || is_int(desc->dtype)) continue;
    if (desc->dtype == DType::f8e8m0) {
      fill_with(tensor, [&] { return std::ldexp(1.0, static_cast<int>(integer(-4, 4))); });
    } else {
      const double deviation = specs[i].constant ? weight_deviation(*desc) : 1;
      fill_with(tensor, [&] { return normal(deviation); });
    }
  }
}

HostTensor& Inputs::tensor(std::string_view name) {
  TESSERA_CHECK(problem_.has(name), "{}: tensor {} was left out", problem_.signature().name, name);
  return tensors_[static_cast<size_t>(problem_.tensor_index(name))];
}

// Own transformations: those of the standard library differ between implementations.
double Inputs::uniform(double lo, double hi) {
  return lo + (hi - lo) * (static_cast<double>(random_() >> 11) * 0x1p-53);
}

double Inputs::normal(double scale) {
  const double radius = std::sqrt(-2 * std::log(1 - uniform(0, 1)));
  return scale * radius * std::cos(2 * std::numbers::pi * uniform(0, 1));
}

int64_t Inputs::integer(int64_t lo, int64_t hi) {
  TESSERA_CHECK(lo <= hi, "integer({}, {})", lo, hi);
  const uint64_t range = static_cast<uint64_t>(hi) - static_cast<uint64_t>(lo) + 1;
  return static_cast<int64_t>(static_cast<uint64_t>(lo) +
                              (range == 0 ? random_() : random_() % range));
}

Result<Problem> problem_of(const Operator& op, const Case& c) {
  return Problem::from_dims(*op.signature, c.dims, c.dtypes, c.attributes, c.strides);
}

Result<CaseData> CaseData::make(const Operator& op, const Case& test_case, Content content) {
  CaseData data;
  TESSERA_ASSIGN(Problem problem, problem_of(op, test_case));
  data.problem_ = std::make_unique<Problem>(std::move(problem));
  Inputs inputs(*data.problem_, test_case);
  if (op.fill != nullptr) op.fill(inputs);
  data.inputs_ = std::move(inputs.tensors_);
  if (content == Content::kInputs) return data;

  const auto& specs = op.signature->tensors;
  for (size_t i = 0; i < specs.size(); ++i) {
    const auto& desc = data.problem_->tensors()[i];
    data.inputs_[i].decode();
    Expected& expected = data.expected_.emplace_back(
        desc && specs[i].access != Access::kRead ? *desc : TensorDesc{.shape = {0}});
    if (!desc || specs[i].access != Access::kReadWrite) continue;
    for (int64_t e = 0; e < data.inputs_[i].numel(); ++e)
      expected.set_flat(e, data.inputs_[i].flat(e));
  }
  op.reference(Reference(*data.problem_, data.inputs_, data.expected_));
  return data;
}

std::string case_text(const Operator& op, const Case& test_case) {
  auto problem = problem_of(op, test_case);
  std::string text = problem.ok() ? problem->to_string() : std::string("invalid case");
  if (!test_case.note.empty()) text += ", " + test_case.note;
  return text;
}

}  // namespace tessera::ops
